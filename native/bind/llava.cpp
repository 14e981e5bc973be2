#include <cstring>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include "bind/args.h"
#include "bind/registry.h"
#include "bind/handle.h"
#include "models/llava_generator.h"
#include "ops/nf4.h"

namespace kuea {
namespace {

using LlavaHandle = std::shared_ptr<Handle<LlavaGenerator>>;

Napi::Value token(Napi::Env env, int64_t id) { return Napi::Number::New(env, static_cast<double>(id)); }

Napi::Value prefill(const LlavaHandle& handle, int64_t size, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  const auto array = args::typed_array<uint8_t>(o, "pixels");
  const auto images = args::integer(o, "images");
  if (images < 0 || static_cast<int64_t>(array.ByteLength()) != images * 3 * size * size) {
    throw Napi::RangeError::New(call.Env(), "prefill expects images * 3 * size * size bytes");
  }
  // A copy: JavaScript may write into its array while the call waits in the queue.
  auto pixels = std::make_shared<std::vector<uint8_t>>(array.Data(), array.Data() + array.ByteLength());
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, pixels, images, size, tokens = args::ints(o, "tokens"), rows = args::ints(o, "imageRows")] {
            return handle->get().prefill(tokens, rows, at::from_blob(pixels->data(), {images, 3, size, size}, at::kByte));
          },
          token);
}

Napi::Value next(const LlavaHandle& handle, const Napi::CallbackInfo& call) {
  return Environment::of(call.Env())
      .on_device(call.Env(), [handle, id = call[0].ToNumber().Int64Value()] { return handle->get().next(id); }, token);
}

Napi::Value open_llava(const Napi::CallbackInfo& call) {
  auto& environment = Environment::of(call.Env());
  const auto spec = args::llava_spec(call[0].As<Napi::Object>());
  const auto size = spec.vision.image_size;
  return environment.on_device(
      call.Env(), [spec] { return std::make_shared<Handle<LlavaGenerator>>(std::make_unique<LlavaGenerator>(spec)); },
      [&environment, size](Napi::Env env, const LlavaHandle& handle) -> Napi::Value {
        environment.add(handle);
        auto object = Napi::Object::New(env);
        object.Set("prefill", Napi::Function::New(env, [handle, size](const Napi::CallbackInfo& c) { return prefill(handle, size, c); }));
        object.Set("next", Napi::Function::New(env, [handle](const Napi::CallbackInfo& c) { return next(handle, c); }));
        add_close(env, object, handle);
        return object;
      });
}

Napi::Value write_file(const Napi::CallbackInfo& call) {
  return Environment::of(call.Env())
      .on_device(call.Env(), [path = call[0].ToString().Utf8Value(), header = args::bytes(call[1]), steps = args::write_steps(call[2])] {
        at::NoGradGuard no_grad;
        write_plan(path, header, steps, [](const std::string& name, const std::string&) -> at::Tensor {
          throw Error("bad_plan", "no model is open that could have a parameter " + name);
        });
      });
}

Napi::Value nf4(const Napi::CallbackInfo& call) {
  const auto array = args::typed_array<float>(call[0], "values");
  if (array.ElementLength() == 0 || array.ElementLength() % 64 != 0)
    throw Napi::RangeError::New(call.Env(), "nf4 expects a multiple of 64 numbers");
  std::vector<float> values(array.Data(), array.Data() + array.ElementLength());
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [values = std::move(values)]() mutable {
            const auto packed = nf4_quantize(at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kFloat), at::kCPU);
            return std::pair(packed.codes, nf4_dequantize(packed, at::kFloat));
          },
          [](Napi::Env env, const std::pair<at::Tensor, at::Tensor>& result) -> Napi::Value {
            auto codes = Napi::Uint8Array::New(env, static_cast<size_t>(result.first.numel()));
            std::memcpy(codes.Data(), result.first.const_data_ptr(), result.first.nbytes());
            auto numbers = Napi::Float32Array::New(env, static_cast<size_t>(result.second.numel()));
            std::memcpy(numbers.Data(), result.second.const_data_ptr(), result.second.nbytes());
            auto out = Napi::Object::New(env);
            out.Set("codes", codes);
            out.Set("values", numbers);
            return out;
          });
}

}  // namespace

void register_llava(Napi::Env env, Napi::Object exports) {
  exports.Set("openLlava", Napi::Function::New(env, open_llava));
  exports.Set("writeTensors", Napi::Function::New(env, write_file));
  exports.Set("nf4", Napi::Function::New(env, nf4));
}

}  // namespace kuea
