#pragma once

#include <functional>
#include <optional>

#include <ATen/core/Tensor.h>

#include "kernels/kernel_alignment.h"

namespace kuea {

/**
 * The student's kernel. gamma, c and sigma are 0-d fp32 and may require gradients; the teacher's kernel has no parameters but its
 * bandwidth.
 */
struct KernelParams {
  KernelKind kind;
  at::Tensor gamma, c, sigma;
  double sigma_teacher;
};

/**
 * Embeddings of all ranks [n, d], without autograd; rows [begin, begin + m) are this rank's. `sum` adds a tensor up over the ranks, in
 * place, same bits on each.
 */
struct Gathered {
  at::Tensor x;
  int64_t begin, rank, ranks;
  std::function<void(const at::Tensor&)> sum;
};

/**
 * The kernel term mean_ij (K_ij - T_ij)^2, diagonal included, 0-d fp32. x [n, d] and y [n, dt] fp32 contiguous, y constant. See
 * kernels/kernel_alignment.h for the kernels. Throws Error `bad_kernel` where gamma |x_i|^2 + c is not positive.
 *
 * With `all` the matrix spans the images of several ranks, x [m, d] is this rank's and y [n, dt] that of all: the value and its derivatives
 * by the kernel's parameters are this rank's summands, the gradient of x is that of the whole term. `tiled` calls `sum` in the forward,
 * twice where a gradient is wanted and after all that can be wrong with the embeddings, so every rank calls it alike, with or without
 * images of its own; the others compute their rows alone.
 *
 * `plain` is the textbook: whole matrices, autograd for the gradients, the oracle of the other two. `tiled` (CPU) computes value and
 * gradients in one sweep of tiles in O(n d + tile^2) memory, the same bits for every number of threads. `chunked` does the same with
 * libtorch's operators over blocks of rows, on any device. `cuda` is one sweep on the GPU that never waits for it, so that instead of
 * throwing `bad_kernel` its loss is not a number; `twin` runs the GPU's blocks on the CPU, thread after thread, and `twin_reversed` the
 * last thread first (kernels/kernel_alignment_grid.h).
 */
at::Tensor kernel_alignment_plain(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, const std::optional<Gathered>& all);
at::Tensor kernel_alignment_tiled(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, const std::optional<Gathered>& all);
at::Tensor kernel_alignment_chunked(const at::Tensor& x, const at::Tensor& y, const KernelParams& params,
                                    const std::optional<Gathered>& all);

at::Tensor kernel_alignment_cuda(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, const std::optional<Gathered>& all);
at::Tensor kernel_alignment_twin(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, const std::optional<Gathered>& all);
at::Tensor kernel_alignment_twin_reversed(const at::Tensor& x, const at::Tensor& y, const KernelParams& params,
                                          const std::optional<Gathered>& all);

/** Tiled on the CPU, cuda on a GPU. */
at::Tensor kernel_alignment(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, const std::optional<Gathered>& all);

}  // namespace kuea
