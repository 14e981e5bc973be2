#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "bind/napi_setup.h"
#include "runtime/device_thread.h"

namespace kuea {

/** A native object that JavaScript holds (a trainer, an encoder). What it owns is freed on the device thread. */
class Resource {
 public:
  virtual ~Resource() = default;
  /** On the device thread; idempotent. After it every use is an error. */
  virtual void release() = 0;
};

/** State of one Node environment (the main thread or a worker): the way back to JavaScript, the open resources, the error class. */
class Environment {
 public:
  explicit Environment(Napi::Env env);

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  /**
   * Runs `work` on the device thread; its value goes through `finish(env, value)` on the JavaScript thread and resolves the promise. An
   * exception of either rejects it with a KueaError. Nothing that `work` captures may be a Napi value.
   */
  template <class Work, class Finish>
  Napi::Promise on_device(Napi::Env env, Work work, Finish finish) {
    using Value = std::invoke_result_t<Work>;
    if constexpr (std::is_void_v<Value>) {
      return submit(env, std::move(work), [finish](Napi::Env e) mutable { return finish(e); }, nullptr);
    } else {
      auto value = std::make_shared<std::optional<Value>>();
      return submit(
          env, [work, value]() mutable { value->emplace(work()); },
          [finish, value = value.get()](Napi::Env e) mutable -> Napi::Value { return finish(e, **value); }, value);
    }
  }

  /** For work with no result. */
  template <class Work>
  Napi::Promise on_device(Napi::Env env, Work work) {
    return on_device(env, std::move(work), [](Napi::Env e) -> Napi::Value { return e.Undefined(); });
  }

  void add(const std::shared_ptr<Resource>& resource) { resources_.insert(resource); }
  void remove(const std::shared_ptr<Resource>& resource) { resources_.erase(resource); }

  /** The class that errors are made with, given once by the loader. */
  void set_error_class(Napi::Function error_class) { error_class_ = Napi::Persistent(error_class); }

  /** The current C++ exception as a JavaScript KueaError. */
  Napi::Value to_error(Napi::Env env, std::exception_ptr error);

 private:
  struct Job;
  static void settle(Napi::Env env, Napi::Function, Environment* self, std::shared_ptr<Job>* held);
  using Channel = Napi::TypedThreadSafeFunction<Environment, std::shared_ptr<Job>, settle>;

  /** `value`: what work makes and finish takes; freed on the device thread when the environment ends in between. */
  Napi::Promise submit(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> finish,
                       std::shared_ptr<void> value);
  void shut_down();

  uint64_t id_;
  Channel channel_;
  size_t pending_ = 0;
  std::set<std::shared_ptr<Resource>> resources_;
  /** Jobs that could not be given back: they may hold JavaScript's references, and are freed on its thread. */
  std::vector<std::shared_ptr<Job>> refused_;
  Napi::FunctionReference error_class_;
};

}  // namespace kuea
