#include "dist/process_group.h"

#include "bind/args.h"
#include "bind/registry.h"
#include "bind/handle.h"

namespace kuea {
namespace {

using GroupHandle = std::shared_ptr<Handle<std::shared_ptr<ProcessGroup>>>;

ProcessGroupSpec group_spec(const Napi::Object& o) {
  const auto milliseconds = [&](const char* key) { return std::chrono::milliseconds(static_cast<int64_t>(args::number(o, key) * 1000)); };
  return {static_cast<int>(args::integer(o, "rank")),
          static_cast<int>(args::integer(o, "worldSize")),
          static_cast<int>(args::integer(o, "localRank")),
          args::string(o, "masterAddr"),
          static_cast<uint16_t>(args::integer(o, "masterPort")),
          args::string(o, "backend") == "nccl",
          milliseconds("joinSeconds"),
          milliseconds("timeoutSeconds"),
          milliseconds("watchdogSeconds")};
}

Napi::Value gather(const GroupHandle& handle, const Napi::CallbackInfo& call) {
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, name = call[0].ToString().Utf8Value(), value = call[1].ToString().Utf8Value()] {
            return handle->get()->gather(name, value);
          },
          [](Napi::Env env, const std::vector<std::string>& values) -> Napi::Value {
            auto list = Napi::Array::New(env, values.size());
            for (uint32_t i = 0; i < values.size(); ++i) list.Set(i, values[i]);
            return list;
          });
}

Napi::Value open_process_group(const Napi::CallbackInfo& call) {
  auto& environment = Environment::of(call.Env());
  return environment.on_device(
      call.Env(),
      [spec = group_spec(call[0].As<Napi::Object>())] {
        return std::make_shared<Handle<std::shared_ptr<ProcessGroup>>>(
            std::make_unique<std::shared_ptr<ProcessGroup>>(ProcessGroup::open(spec)));
      },
      [&environment](Napi::Env env, const GroupHandle& handle) -> Napi::Value {
        environment.add(handle);
        auto object = Napi::Object::New(env);
        const auto method = [&](const char* name, auto function) { object.Set(name, Napi::Function::New(env, function)); };
        method("gather", [handle](const Napi::CallbackInfo& c) { return gather(handle, c); });
        // These three do not wait for the device thread.
        const auto signals = handle->get()->signals();
        method("requestStop", [signals](const Napi::CallbackInfo&) { signals->stop_wanted = true; });
        method("stopRequested",
               [signals](const Napi::CallbackInfo& c) -> Napi::Value { return Napi::Boolean::New(c.Env(), signals->stop_agreed); });
        method("lostRank", [signals, watchdog = handle->get()->spec().watchdog](const Napi::CallbackInfo& c) -> Napi::Value {
          const int lost = signals->silent(watchdog);
          return lost < 0 ? c.Env().Null() : Napi::Number::New(c.Env(), lost);
        });
        add_close(env, object, handle);
        return object;
      });
}

}  // namespace

void register_process_group(Napi::Env env, Napi::Object exports) {
  exports.Set("openProcessGroup", Napi::Function::New(env, open_process_group));
}

}  // namespace kuea
