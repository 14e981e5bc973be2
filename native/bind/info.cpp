#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/Logging.h>

#include "bind/environment.h"
#include "bind/registry.h"
#include "runtime/caching_allocator.h"
#include "runtime/mapped_file.h"
#include "runtime/process_exit.h"
#include "runtime/torch_compat.h"

namespace kuea {
namespace {

Napi::Value info(const Napi::CallbackInfo& call) {
  auto env = call.Env();
  auto result = Napi::Object::New(env);
  result.Set("libtorch", libtorch_version);
#ifdef KUEA_CUDA
  result.Set("cudaBuilt", KUEA_CUDA);
#else
  result.Set("cudaBuilt", env.Null());
#endif
  result.Set("cudaDevices", static_cast<double>(at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0));
  result.Set("cpuCapability", at::get_cpu_capability());
  result.Set("threads", at::get_num_threads());
  const auto [in_use, cached, peak] = cpu_memory();
  auto memory = Napi::Object::New(env);
  memory.Set("inUse", static_cast<double>(in_use));
  memory.Set("cached", static_cast<double>(cached));
  memory.Set("peak", static_cast<double>(peak));
  result.Set("memory", memory);
  return result;
}

Napi::Value set_threads(const Napi::CallbackInfo& call) {
  const int count = call[0].ToNumber().Int32Value();
  if (count < 1) throw Napi::RangeError::New(call.Env(), "setThreads expects a count of at least 1");
  return Environment::of(call.Env()).on_device(call.Env(), [count] { at::set_num_threads(count); });
}

Napi::Value changed(const Napi::CallbackInfo& call) {
  const auto paths = changed_files();
  auto list = Napi::Array::New(call.Env(), paths.size());
  for (uint32_t i = 0; i < paths.size(); ++i) list.Set(i, paths[i]);
  return list;
}

Napi::Value use_error_class(const Napi::CallbackInfo& call) {
  Environment::of(call.Env()).set_error_class(call[0].As<Napi::Function>());
  return call.Env().Undefined();
}

Napi::Value guard(const Napi::CallbackInfo& call) {
  guard_exit();
  return call.Env().Undefined();
}

}  // namespace

void register_info(Napi::Env env, Napi::Object exports) {
  install_caching_allocator();
  // Reads TORCH_CPP_LOG_LEVEL, which Python's torch does when it is imported.
  c10::initLogging();
  exports.Set("info", Napi::Function::New(env, info));
  exports.Set("changedFiles", Napi::Function::New(env, changed));
  exports.Set("setThreads", Napi::Function::New(env, set_threads));
  // Before anybody can call process.reallyExit.
  guard_exit();
  exports.Set("guardExit", Napi::Function::New(env, guard));
  exports.Set("useErrorClass", Napi::Function::New(env, use_error_class));
}

}  // namespace kuea
