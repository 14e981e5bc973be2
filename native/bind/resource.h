#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bind/environment.h"
#include "nn/parameters.h"
#include "runtime/caching_allocator.h"
#include "runtime/error.h"
#include "weights/stored_tensor.h"
#include "weights/write.h"

namespace kuea {

/** A core object that a JavaScript handle holds. */
template <class T>
struct Handle final : Resource {
  explicit Handle(std::unique_ptr<T> object) : object(std::move(object)) {}
  void release() override { object.reset(); }

  /** Throws Error `closed` after close(). */
  T& get() {
    if (!object) throw Error("closed", "this handle was closed");
    return *object;
  }

  std::unique_ptr<T> object;
};

/** Adds close() to a handle's JavaScript object: waits for what was asked for before, then frees. */
template <class T>
void add_close(Napi::Env env, Napi::Object object, std::shared_ptr<Handle<T>> handle) {
  object.Set("close", Napi::Function::New(env, [handle](const Napi::CallbackInfo& call) -> Napi::Value {
               auto& environment = Environment::of(call.Env());
               return environment.on_device(
                   call.Env(),
                   [handle] {
                     handle->release();
                     release_cached_memory();
                   },
                   [handle, &environment](Napi::Env e) -> Napi::Value {
                     environment.remove(handle);
                     return e.Undefined();
                   });
             }));
}

/** One tensor of a file to be written; WriteStep in lib/native/addon.ts. */
struct WriteStep {
  std::string parameter, state;
  int64_t row = 0;
  std::optional<int64_t> rows;
  bool transpose = false;
  std::optional<StoredTensor> source;
  /** What is added to the source: scale * b a. */
  struct Merge {
    StoredTensor a, b;
    double scale;
  };
  std::optional<Merge> merge;
  at::ScalarType dtype = at::kFloat;
};

std::vector<WriteStep> write_steps(const Napi::Value& array);

/** Carries a write plan out; `find(parameter, state)` gives the tensors. */
void write_plan(const std::string& path, const std::vector<std::byte>& header, const std::vector<WriteStep>& steps,
                const std::function<at::Tensor(const std::string& parameter, const std::string& state)>& find);

/** Copies a Uint8Array. */
std::vector<std::byte> bytes(const Napi::Value& value);

}  // namespace kuea
