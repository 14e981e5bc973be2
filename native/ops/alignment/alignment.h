#pragma once

#include <functional>
#include <optional>

#include <ATen/core/Tensor.h>

#include "kernels/alignment/entry.h"

namespace kuea {

/** KernelSpec in lib/native/addon.ts. */
struct KernelSpec {
  KernelKind kind;
  double gamma, c, sigma, sigma_teacher;
};

/**
 * The student's kernel. gamma, c and sigma are 0-d fp32 and may require gradients; the teacher's kernel has no parameters but its
 * bandwidth.
 */
struct KernelParams {
  KernelKind kind;
  at::Tensor gamma, c, sigma;
  double sigma_teacher;
};

/** The kernel's parameters on a device, with gradients where they are `trained`. */
KernelParams kernel_params(const KernelSpec& spec, at::Device device, bool trained);

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
 * kernels/alignment/entry.h for the kernels. Throws Error `bad_kernel` where gamma |x_i|^2 + c is not positive.
 *
 * With `all` the matrix spans the images of several ranks, x [m, d] is this rank's and y [n, dt] that of all: the value and its derivatives
 * by the kernel's parameters are this rank's summands, the gradient of x is that of the whole term. `tiled` calls `sum` in the forward,
 * twice where a gradient is wanted and after all that can be wrong with the embeddings, so every rank calls it alike, with or without
 * images of its own; the others compute their rows alone.
 *
 * `plain` is the textbook: whole matrices, autograd for the gradients, the oracle of the others. `tiled` (CPU) computes value and gradients
 * in one sweep of tiles in O(n d + tile^2) memory, the same bits for every number of threads (of up to 256 rows, which are one tile, where
 * the BLAS has them: MKL, which libtorch is linked with on x86-64). `cuda` is one sweep on the GPU that never waits for it, so that instead
 * of throwing `bad_kernel` its loss is not a number.
 */
using KernelAlignment = at::Tensor(const at::Tensor& x, const at::Tensor& y, const KernelParams& params,
                                   const std::optional<Gathered>& all);

KernelAlignment kernel_alignment_plain, kernel_alignment_tiled;
#ifdef KUEA_CUDA
KernelAlignment kernel_alignment_cuda;
#endif

/** Tiled on the CPU, cuda on a GPU. */
KernelAlignment kernel_alignment;

}  // namespace kuea
