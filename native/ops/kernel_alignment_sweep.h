#pragma once

#include <ATen/core/Tensor.h>

#include "ops/kernel_alignment.h"

namespace kuea {

struct AlignmentScalars {
  KernelKind kind;
  double gamma, c, sigma, sigma_teacher;
};

/**
 * The loss, and where gradients were wanted, the derivatives by gamma and c (polynomial) or sigma (Gaussian): this rank's summands of them.
 * dX [m, d], of this rank's rows, is exact.
 */
struct AlignmentValue {
  double loss = 0;
  at::Tensor dx;
  double dgamma = 0, dc = 0, dsigma = 0;
};

/**
 * Tiles on all threads; CPU tensors. Of several ranks each sweeps its share of the tiles, whosever rows they are; the m rows' sums are then
 * added up.
 */
AlignmentValue sweep_tiled(const Gathered& all, int64_t m, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient);

/** Blocks of the m rows against all rows with libtorch's operators; any device. */
AlignmentValue sweep_chunked(const Gathered& all, int64_t m, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient);

}  // namespace kuea
