#include "ops/alignment/grid.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#ifdef KUEA_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace kuea {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/** dX of the rows [begin, end) and, fp32 [4], the loss and its derivatives by gamma, c and sigma. */
struct GridValue {
  at::Tensor dx, values;
};

GridValue sweep(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, int64_t begin, int64_t end, bool gradient, GridSweep run) {
  const auto n = x.size(0), d = x.size(1), rows = end - begin;
  const auto options = x.options().requires_grad(false);
  const auto doubles = options.dtype(at::kDouble);
  GridValue value;
  if (gradient) value.dx = at::empty({rows, d}, options);
  if (rows == 0) {
    value.values = at::zeros({4}, options);
    return value;
  }
  value.values = at::empty({4}, options);
  const auto shape = kernels::grid_shape(n, begin, end);
  const auto norms = at::empty({2, n}, options), sums = at::empty({shape.row_blocks, shape.splits, 3}, doubles);
  at::Tensor partial, u, q;
  if (gradient) {
    partial = at::empty({shape.splits, rows, d}, options);
    u = at::empty({shape.splits, rows}, doubles);
    q = at::empty({rows}, doubles);
  }
  const auto floats = [](const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; };
  const auto wide = [](const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr<double>() : nullptr; };
  const kernels::GridAlignment a{p.kind,
                                 n,
                                 d,
                                 y.size(1),
                                 begin,
                                 end,
                                 x.const_data_ptr<float>(),
                                 y.const_data_ptr<float>(),
                                 p.gamma.const_data_ptr<float>(),
                                 p.c.const_data_ptr<float>(),
                                 p.sigma.const_data_ptr<float>(),
                                 static_cast<float>(p.sigma_teacher),
                                 gradient};
  run(a, {floats(norms), floats(norms) + n, floats(partial), wide(u), wide(q), wide(sums), floats(value.dx), floats(value.values)},
      x.device());
  return value;
}

/** Like Tiled, but nothing is read back to the host. */
struct OnGrid : torch::autograd::Function<OnGrid> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gamma, const Variable& c, const Variable& sigma,
                          const at::Tensor& all, const at::Tensor& y, int64_t begin, KernelKind kind, double sigma_teacher, GridSweep run) {
    const bool gradient = x.requires_grad() || gamma.requires_grad() || c.requires_grad() || sigma.requires_grad();
    const auto value = sweep(all, y, {kind, gamma, c, sigma, sigma_teacher}, begin, begin + x.size(0), gradient, run);
    if (gradient) ctx->save_for_backward({value.dx, value.values});
    return value.values.select(0, 0).clone();
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    variable_list out(10);
    const auto saved = ctx->get_saved_variables();
    if (ctx->needs_input_grad(0)) out[0] = saved[0] * grads[0];
    for (int64_t i = 1; i < 4; ++i) {
      if (ctx->needs_input_grad(static_cast<size_t>(i))) out[static_cast<size_t>(i)] = saved[1].select(0, i) * grads[0];
    }
    return out;
  }
};

#ifdef KUEA_CUDA
void sweep_on_gpu(const kernels::GridAlignment& a, const kernels::GridBuffers& buffers, at::Device device) {
  const c10::DeviceGuard guard(device);
  C10_CUDA_CHECK(static_cast<cudaError_t>(kernels::sweep_grid_cuda(a, buffers, c10::cuda::getCurrentCUDAStream(device.index()).stream())));
}
#endif

}  // namespace

at::Tensor kernel_alignment_on_grid(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all,
                                    GridSweep run) {
  const auto values = all ? all->x : x.detach();
  return OnGrid::apply(x, p.gamma, p.c, p.sigma, values.contiguous(), y.contiguous(), all ? all->begin : 0, p.kind, p.sigma_teacher, run);
}

#ifdef KUEA_CUDA
at::Tensor kernel_alignment_cuda(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
  return kernel_alignment_on_grid(x, y, p, all, sweep_on_gpu);
}
#endif

}  // namespace kuea
