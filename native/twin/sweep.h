#pragma once

#include "kernels/alignment/grid.h"

namespace kuea::kernels {

/**
 * The blocks of the GPU's sweep (kernels/alignment/blocks.h) on the CPU, thread after thread, in memory of the CPU: slow, and the test of
 * the GPU's arithmetic where there is no GPU. The results do not depend on the order of the threads: `reversed` runs the last one first,
 * which brings out a missing barrier.
 */
void sweep_grid_twin(const GridAlignment& a, const GridBuffers& buffers, bool reversed);

}  // namespace kuea::kernels
