#include <ATen/ops/from_blob.h>

#include "bind/args.h"
#include "bind/kernel_loss_call.h"
#include "ops/alignment/grid.h"
#include "twin/sweep.h"

// The second addon, for the tests alone (test/numerics/twin.ts): the kernel loss through the GPU's blocks on the CPU, at once and on the
// JavaScript thread.
namespace kuea {
namespace {

template <bool reversed>
at::Tensor on_twin(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, const std::optional<Gathered>& all) {
  const auto sweep = [](const kernels::GridAlignment& a, const kernels::GridBuffers& buffers, at::Device) {
    kernels::sweep_grid_twin(a, buffers, reversed);
  };
  return kernel_alignment_on_grid(x, y, params, all, sweep);
}

Napi::Value grid_loss(const Napi::CallbackInfo& info) {
  const auto o = info[0].As<Napi::Object>();
  const KernelLossCall call(o);
  const auto x = at::from_blob(call.x, {call.n, call.d}, at::kFloat), y = at::from_blob(call.y, {call.n, call.dt}, at::kFloat);
  auto* const loss = args::boolean(o, "reversed") ? on_twin<true> : on_twin<false>;
  return kernel_loss_result(info.Env(), evaluate_kernel_loss(x, y, call.kernel, loss, call.gradient, call.part(x), call.rows()));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("gridLoss", Napi::Function::New(env, grid_loss));
  return exports;
}

}  // namespace

NODE_API_MODULE(kuea_twin, init)

}  // namespace kuea
