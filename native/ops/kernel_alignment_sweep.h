#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/kernel_alignment.h"

namespace kuea {

/** Rows [begin, end) of the matrices: those that this process answers for. */
struct RowRange {
  int64_t begin, end;
};

struct AlignmentScalars {
  KernelKind kind;
  double gamma, c, sigma, sigma_teacher;
};

/**
 * The loss, and where gradients were wanted, the derivatives by gamma and c (polynomial) or sigma (Gaussian): the parts of the rows in question, which add up
 * to the whole. dX [end - begin, d] is exact.
 */
struct AlignmentValue {
  double loss = 0;
  at::Tensor dx;
  double dgamma = 0, dc = 0, dsigma = 0;
};

/** Tiles on all threads; CPU tensors. */
AlignmentValue sweep_tiled(const at::Tensor& x, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient, RowRange range);

/** Blocks of rows against all rows with libtorch's operators; any device. */
AlignmentValue sweep_chunked(const at::Tensor& x, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient, RowRange range);

}  // namespace kuea
