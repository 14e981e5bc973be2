#pragma once

#include "ops/alignment/alignment.h"

namespace kuea {

/** KernelLossResult in lib/native/addon.ts; dx on the CPU, undefined without a gradient. */
struct KernelLoss {
  double loss, dgamma, dc, dsigma, seconds;
  at::Tensor dx;
};

/** One of the kernel_alignment functions by itself, on x [n, d] and y [n, dt]. With `all` for the `count` rows of that rank. */
KernelLoss evaluate_kernel_loss(const at::Tensor& x, const at::Tensor& y, const KernelSpec& spec, KernelAlignment* loss, bool gradient,
                                const std::optional<Gathered>& all, int64_t count);

}  // namespace kuea
