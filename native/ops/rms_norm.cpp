#include "ops/rms_norm.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/rms_norm.h"
#include "ops/kernel_dispatch.h"

namespace kuea {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::Tensor* rstd) {
  const auto rows = x.size(0), width = x.size(1);
  if (!has_kernels(x)) {
    const auto x32 = x.to(at::kFloat);
    const auto scale = x32.square().mean(1).add_(eps).rsqrt_();
    if (rstd != nullptr) *rstd = scale;
    return (x32 * scale.unsqueeze(1)).to(x.scalar_type()) * weight;
  }
  auto y = at::empty_like(x);
  auto scale = rstd == nullptr ? at::Tensor() : at::empty({rows}, x.options().dtype(at::kFloat));
  if (rstd != nullptr) *rstd = scale;
  dispatch(x, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, rows, row_grain(width), [&](int64_t begin, int64_t end) {
      auto* scales = scale.defined() ? numbers<float>(scale, begin) : nullptr;
      kernels::rms_norm(numbers<T>(x, begin * width), numbers<T>(weight), numbers<T>(y, begin * width), scales, end - begin, width,
                        static_cast<float>(eps));
    });
  });
  return y;
}

void rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd, const at::Tensor& g, at::Tensor& dx) {
  const auto rows = x.size(0), width = x.size(1);
  if (!has_kernels(x)) {
    const auto scale = rstd.unsqueeze(1);
    const auto normed = x.to(at::kFloat) * scale, weighted = g.to(at::kFloat) * weight;
    dx.add_((scale * (weighted - normed * (weighted * normed).mean(1, true))).to(dx.scalar_type()));
    return;
  }
  dispatch(x, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, rows, row_grain(width), [&](int64_t begin, int64_t end) {
      const auto first = begin * width;
      kernels::rms_norm_backward(numbers<T>(x, first), numbers<T>(weight), numbers<float>(rstd, begin), numbers<T>(g, first),
                                 numbers<T>(dx, first), end - begin, width);
    });
  });
}

}  // namespace kuea
