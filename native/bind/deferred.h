#pragma once

#include "bind/napi_setup.h"

namespace kuea {

/**
 * A promise and its settling, which never throws: a worker that is being ended refuses every call, and there is nobody left to tell. (That
 * of node-addon-api throws then, out of a callback where nothing catches.)
 */
class Deferred {
 public:
  explicit Deferred(Napi::Env env) {
    if (napi_create_promise(env, &deferred_, &promise_) != napi_ok) throw Napi::Error::New(env);
  }

  /** In the scope in which this was made. */
  Napi::Promise promise(Napi::Env env) const { return {env, promise_}; }

  void resolve(napi_env env, napi_value value) const noexcept { napi_resolve_deferred(env, deferred_, value); }
  void reject(napi_env env, napi_value error) const noexcept { napi_reject_deferred(env, deferred_, error); }

 private:
  napi_deferred deferred_ = nullptr;
  napi_value promise_ = nullptr;
};

}  // namespace kuea
