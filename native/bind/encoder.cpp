#include "models/encoder.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include "bind/args.h"
#include "bind/registry.h"
#include "bind/handle.h"

namespace kuea {
namespace {

using EncoderHandle = std::shared_ptr<Handle<Encoder>>;

Napi::Value encode(const EncoderHandle& handle, const Napi::CallbackInfo& call) {
  auto env = call.Env();
  const auto array = args::typed_array<uint8_t>(call[0], "pixels");
  const int64_t count = call[1].ToNumber().Int64Value(), size = call[2].ToNumber().Int64Value();
  const int64_t resized = call[3].IsNumber() ? call[3].ToNumber().Int64Value() : size;
  if (count < 0 || size < 1 || static_cast<int64_t>(array.ByteLength()) != count * 3 * size * size) {
    throw Napi::RangeError::New(env, "encode expects count * 3 * size * size bytes");
  }
  // A copy: JavaScript may write into its array while the batch waits in the queue.
  auto pixels = std::make_shared<std::vector<uint8_t>>(array.Data(), array.Data() + array.ByteLength());
  return Environment::of(env).on_device(
      env,
      [handle, pixels, count, size, resized]() -> at::Tensor {
        at::NoGradGuard no_grad;
        const auto images = at::from_blob(pixels->data(), {count, 3, size, size}, at::kByte);
        return handle->get().embed(images, resized).to(at::kCPU).contiguous();
      },
      args::float_array);
}

Napi::Value write(const EncoderHandle& handle, const Napi::CallbackInfo& call) {
  return Environment::of(call.Env())
      .on_device(
          call.Env(), [handle, path = call[0].ToString().Utf8Value(), header = args::bytes(call[1]), steps = args::write_steps(call[2])] {
            const auto& parameters = handle->get().model().parameters().all();
            write_plan(path, header, steps, [&](const std::string& name, const std::string&) {
              const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const Parameter& p) { return p.name == name; });
              if (found == parameters.end()) throw Error("bad_plan", "the model has no parameter " + name);
              return found->value;
            });
          });
}

Napi::Value open_encoder(const Napi::CallbackInfo& call) {
  const auto options = call[0].As<Napi::Object>();
  auto& environment = Environment::of(call.Env());
  return environment.on_device(
      call.Env(),
      [spec = args::encoder_spec(options), compute = args::precision(options), device = args::device(options)] {
        return std::make_shared<Handle<Encoder>>(std::make_unique<Encoder>(spec, compute, device));
      },
      [&environment](Napi::Env env, const EncoderHandle& handle) -> Napi::Value {
        environment.add(handle);
        auto object = Napi::Object::New(env);
        object.Set("dim", static_cast<double>(handle->get().model().dim()));
        object.Set("parameters", args::parameter_list(env, handle->get().model().parameters().all()));
        object.Set("encode", Napi::Function::New(env, [handle](const Napi::CallbackInfo& c) { return encode(handle, c); }));
        object.Set("write", Napi::Function::New(env, [handle](const Napi::CallbackInfo& c) { return write(handle, c); }));
        add_close(env, object, handle);
        return object;
      });
}

}  // namespace

void register_encoder(Napi::Env env, Napi::Object exports) { exports.Set("openEncoder", Napi::Function::New(env, open_encoder)); }

}  // namespace kuea
