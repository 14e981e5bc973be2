#pragma once

#include <memory>
#include <utility>

#include "bind/environment.h"
#include "runtime/caching_allocator.h"
#include "runtime/error.h"

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

}  // namespace kuea
