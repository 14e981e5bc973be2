#include "ops/swiglu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include "kernels/swiglu.h"
#include "ops/kernel_dispatch.h"

namespace kuea {

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (!has_kernels(gate)) return at::silu(gate) * up;
  auto y = at::empty_like(gate);
  dispatch(gate, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, gate.numel(), row_grain(1), [&](int64_t begin, int64_t end) {
      kernels::swiglu(numbers<T>(gate, begin), numbers<T>(up, begin), numbers<T>(y, begin), end - begin);
    });
  });
  return y;
}

void swiglu_backward_(const at::Tensor& g, at::Tensor& gate, at::Tensor& up) {
  if (!has_kernels(gate)) {
    const auto s = at::sigmoid(gate);
    const auto du = g * gate * s;
    gate.mul_(1 - s).add_(1).mul_(s).mul_(up).mul_(g);
    up.copy_(du);
    return;
  }
  dispatch(gate, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, gate.numel(), row_grain(1), [&](int64_t begin, int64_t end) {
      kernels::swiglu_backward(numbers<T>(g, begin), numbers<T>(gate, begin), numbers<T>(up, begin), end - begin);
    });
  });
}

}  // namespace kuea
