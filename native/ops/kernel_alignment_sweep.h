#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/kernel_alignment.h"

namespace kuea {

struct AlignmentScalars {
  KernelKind kind;
  double gamma, c, sigma, sigma_teacher;
};

/** The loss, and where gradients were wanted, dX [n, d] and the derivatives by gamma and c (polynomial) or sigma (Gaussian). */
struct AlignmentValue {
  double loss = 0;
  at::Tensor dx;
  double dgamma = 0, dc = 0, dsigma = 0;
};

/** Tiles on all threads; CPU tensors. */
AlignmentValue sweep_tiled(const at::Tensor& x, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient);

/** Blocks of rows against all rows with libtorch's operators; any device. */
AlignmentValue sweep_chunked(const at::Tensor& x, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient);

}  // namespace kuea
