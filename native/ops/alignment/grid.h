#pragma once

#include "kernels/alignment/grid.h"
#include "ops/alignment/alignment.h"

namespace kuea {

/** Sweeps in the memory of `device`, or queues that. */
using GridSweep = void (*)(const kernels::GridAlignment& a, const kernels::GridBuffers& buffers, at::Device device);

/** kernel_alignment_cuda over a sweep that is given: the GPU's, or in the tests its twin on the CPU. */
at::Tensor kernel_alignment_on_grid(const at::Tensor& x, const at::Tensor& y, const KernelParams& params,
                                    const std::optional<Gathered>& all, GridSweep sweep);

}  // namespace kuea
