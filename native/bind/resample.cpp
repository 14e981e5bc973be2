#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "bind/args.h"
#include "bind/deferred.h"
#include "bind/registry.h"
#include "kernels/resample.h"

namespace kuea {
namespace {

/** One image on the libuv pool. Both arrays are referenced until it is done. */
class ResampleWork : public Napi::AsyncWorker {
 public:
  ResampleWork(Napi::Env env, const kernels::ResampleGeometry& geometry, Napi::Uint8Array source, Napi::Uint8Array target, size_t offset)
      : AsyncWorker(env, "kuea.resample"),
        deferred_(env),
        geometry_(geometry),
        source_(source.Data()),
        target_(target.Data() + offset),
        keep_source_(Napi::Persistent(source)),
        keep_target_(Napi::Persistent(target)) {}

  Napi::Promise promise() const { return deferred_.promise(Env()); }

  void Execute() override {
    thread_local kernels::ResampleScratch scratch;
    kernels::resample_bicubic(source_, geometry_, target_, scratch);
  }
  void OnOK() override { deferred_.resolve(Env(), Env().Undefined()); }
  void OnError(const Napi::Error& error) override { deferred_.reject(Env(), error.Value()); }

 private:
  Deferred deferred_;
  kernels::ResampleGeometry geometry_;
  const uint8_t* source_;
  uint8_t* target_;
  Napi::Reference<Napi::Uint8Array> keep_source_;
  Napi::Reference<Napi::Uint8Array> keep_target_;
};

/** A whole number from `least` to 2^31 - 1; Int32Value would wrap others. */
int whole(const Napi::Object& task, const char* key, int least) {
  const double value = args::number(task, key);
  if (!(value >= least && value <= std::numeric_limits<int>::max()) || value != std::floor(value)) {
    throw Napi::RangeError::New(task.Env(), "resample: expected a whole number of at least " + std::to_string(least) + " for " + key);
  }
  return static_cast<int>(value);
}

int positive(const Napi::Object& task, const char* key) { return whole(task, key, 1); }

Napi::Value resample(const Napi::CallbackInfo& call) {
  const auto task = call[0].As<Napi::Object>();
  const auto source = args::typed_array<uint8_t>(task, "source");
  const auto target = args::typed_array<uint8_t>(task, "target");
  const kernels::ResampleGeometry geometry{
      .width = positive(task, "width"),
      .height = positive(task, "height"),
      .channels = positive(task, "channels"),
      .resized_width = positive(task, "resizedWidth"),
      .resized_height = positive(task, "resizedHeight"),
      .left = whole(task, "left", std::numeric_limits<int>::min()),
      .top = whole(task, "top", std::numeric_limits<int>::min()),
      .size = positive(task, "size"),
  };
  const int64_t offset = args::integer(task, "offset");
  if (geometry.channels != 1 && geometry.channels != 3) throw Napi::RangeError::New(call.Env(), "resample: expected 1 or 3 channels");
  // The only guard between a wrong number and memory that is not ours.
  const auto fits = [](size_t available, std::initializer_list<int64_t> sides) {
    int64_t bytes = 1;
    for (const auto side : sides) {
      if (__builtin_mul_overflow(bytes, side, &bytes)) return false;
    }
    return bytes <= static_cast<int64_t>(available);
  };
  if (!fits(source.ByteLength(), {geometry.width, geometry.height, geometry.channels}))
    throw Napi::RangeError::New(call.Env(), "resample: source is smaller than its geometry");
  if (offset < 0 || offset > static_cast<int64_t>(target.ByteLength()) ||
      !fits(target.ByteLength() - static_cast<size_t>(offset), {geometry.size, geometry.size, 3})) {
    throw Napi::RangeError::New(call.Env(), "resample: the window does not fit in target at offset");
  }
  if (std::max(geometry.left, geometry.top) > std::numeric_limits<int>::max() - geometry.size)
    throw Napi::RangeError::New(call.Env(), "resample: the window ends beyond the largest image");
  auto* work = new ResampleWork(call.Env(), geometry, source, target, static_cast<size_t>(offset));
  const auto promise = work->promise();
  work->Queue();
  return promise;
}

}  // namespace

void register_resample(Napi::Env env, Napi::Object exports) { exports.Set("resample", Napi::Function::New(env, resample)); }

}  // namespace kuea
