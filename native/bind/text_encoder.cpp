#include "models/clip_text.h"

#include <ATen/core/grad_mode.h>

#include "bind/args.h"
#include "bind/handle.h"
#include "bind/registry.h"

namespace kuea {
namespace {

using TextHandle = std::shared_ptr<Handle<ClipText>>;

Napi::Value encode(const TextHandle& handle, const Napi::CallbackInfo& call) {
  auto env = call.Env();
  const auto array = args::typed_array<int32_t>(call[0], "ids");
  const int64_t count = call[1].ToNumber().Int64Value(), context = call[2].ToNumber().Int64Value();
  const auto length = static_cast<int64_t>(array.ElementLength());
  // Divided: a product of any two numbers may overflow.
  if (count < 1 || context < 1 || length % count != 0 || length / count != context) {
    throw Napi::RangeError::New(env, "encode expects count * context ids, of one text at least");
  }
  // A copy: JavaScript may write into its array while the batch waits in the queue.
  return Environment::of(env).on_device(
      env,
      [handle, ids = std::vector<int32_t>(array.Data(), array.Data() + array.ElementLength()), count, context]() -> at::Tensor {
        at::NoGradGuard no_grad;
        return handle->get().embed(ids, count, context).to(at::kCPU).contiguous();
      },
      args::float_array);
}

Napi::Value open_text_encoder(const Napi::CallbackInfo& call) {
  const auto options = call[0].As<Napi::Object>();
  auto& environment = Environment::of(call.Env());
  return environment.on_device(
      call.Env(),
      [arch = args::clip_text_arch(args::object(options, "arch")), weights = args::load_plan(options.Get("weights")),
       compute = args::precision(options), device = args::device(options)] {
        return std::make_shared<Handle<ClipText>>(std::make_unique<ClipText>(arch, weights, compute, device));
      },
      [&environment](Napi::Env env, const TextHandle& handle) -> Napi::Value {
        environment.add(handle);
        auto object = Napi::Object::New(env);
        object.Set("dim", static_cast<double>(handle->get().dim()));
        object.Set("encode", Napi::Function::New(env, [handle](const Napi::CallbackInfo& c) { return encode(handle, c); }));
        add_close(env, object, handle);
        return object;
      });
}

}  // namespace

void register_text_encoder(Napi::Env env, Napi::Object exports) {
  exports.Set("openTextEncoder", Napi::Function::New(env, open_text_encoder));
}

}  // namespace kuea
