#include <string>
#include <utility>

#include "bind/registry.h"
#include "kernels/resample.h"

namespace kuea {
namespace {

/** One image on the libuv pool. Both arrays are referenced until it is done. */
class ResampleWork : public Napi::AsyncWorker {
 public:
  ResampleWork(Napi::Env env, const kernels::ResampleGeometry& geometry, Napi::Uint8Array source, Napi::Uint8Array target, size_t offset)
      : AsyncWorker(env, "kuea.resample"),
        deferred_(Napi::Promise::Deferred::New(env)),
        geometry_(geometry),
        source_(source.Data()),
        target_(target.Data() + offset),
        keep_source_(Napi::Persistent(source)),
        keep_target_(Napi::Persistent(target)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    thread_local kernels::ResampleScratch scratch;
    kernels::resample_bicubic(source_, geometry_, target_, scratch);
  }
  void OnOK() override { deferred_.Resolve(Env().Undefined()); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  kernels::ResampleGeometry geometry_;
  const uint8_t* source_;
  uint8_t* target_;
  Napi::Reference<Napi::Uint8Array> keep_source_;
  Napi::Reference<Napi::Uint8Array> keep_target_;
};

int positive(const Napi::Object& task, const char* key) {
  const int value = task.Get(key).ToNumber().Int32Value();
  if (value < 1) throw Napi::RangeError::New(task.Env(), std::string("resample: expected a positive ") + key);
  return value;
}

Napi::Value resample(const Napi::CallbackInfo& call) {
  const auto task = call[0].As<Napi::Object>();
  const auto source = task.Get("source").As<Napi::Uint8Array>();
  const auto target = task.Get("target").As<Napi::Uint8Array>();
  const kernels::ResampleGeometry geometry{
      .width = positive(task, "width"),
      .height = positive(task, "height"),
      .channels = positive(task, "channels"),
      .resized_width = positive(task, "resizedWidth"),
      .resized_height = positive(task, "resizedHeight"),
      .left = task.Get("left").ToNumber().Int32Value(),
      .top = task.Get("top").ToNumber().Int32Value(),
      .size = positive(task, "size"),
  };
  const int64_t offset = task.Get("offset").ToNumber().Int64Value();
  if (geometry.channels != 1 && geometry.channels != 3) throw Napi::RangeError::New(call.Env(), "resample: expected 1 or 3 channels");
  // The only guard between a wrong number and memory that is not ours.
  const auto pixels = static_cast<int64_t>(geometry.width) * geometry.height * geometry.channels;
  const auto window = static_cast<int64_t>(geometry.size) * geometry.size * 3;
  if (static_cast<int64_t>(source.ByteLength()) < pixels)
    throw Napi::RangeError::New(call.Env(), "resample: source is smaller than its geometry");
  if (offset < 0 || static_cast<int64_t>(target.ByteLength()) < offset + window) {
    throw Napi::RangeError::New(call.Env(), "resample: the window does not fit in target at offset");
  }
  auto* work = new ResampleWork(call.Env(), geometry, source, target, static_cast<size_t>(offset));
  const auto promise = work->promise();
  work->Queue();
  return promise;
}

}  // namespace

void register_resample(Napi::Env env, Napi::Object exports) { exports.Set("resample", Napi::Function::New(env, resample)); }

}  // namespace kuea
