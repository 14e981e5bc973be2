#include "kernels/alignment/grid.h"

#include <cuda_runtime_api.h>

#include "kernels/alignment/blocks.h"

namespace kuea::kernels {
namespace {

template <class State>
struct DeviceTeam {
  State state;

  template <class Phase>
  __device__ __forceinline__ void each(Phase phase) {
    phase(static_cast<int>(threadIdx.x), state);
    __syncthreads();
  }
};

__global__ void __launch_bounds__(grid::row_threads) prepare(GridAlignment a, GridBuffers b) {
  __shared__ grid::PrepareShared shared;
  DeviceTeam<grid::NoState> team;
  grid::prepare_block(team, shared, a, b, blockIdx.x);
}

// Two blocks a multiprocessor: 128 registers a thread.
__global__ void __launch_bounds__(grid::sweep_threads, 2) sweep(GridAlignment a, GridBuffers b, GridShape shape) {
  __shared__ grid::SweepShared shared;
  DeviceTeam<grid::SweepState> team;
  grid::sweep_block(team, shared, a, b, shape, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y));
}

__global__ void __launch_bounds__(grid::row_threads) finish(GridAlignment a, GridBuffers b, GridShape shape) {
  DeviceTeam<grid::NoState> team;
  grid::finish_block(team, a, b, shape, blockIdx.x);
}

__global__ void __launch_bounds__(grid::total_threads) total(GridAlignment a, GridBuffers b, GridShape shape) {
  __shared__ grid::TotalShared shared;
  DeviceTeam<grid::NoState> team;
  grid::total_block(team, shared, a, b, shape);
}

}  // namespace

int sweep_grid_cuda(const GridAlignment& a, const GridBuffers& buffers, void* stream) {
  const auto shape = grid_shape(a.n, a.begin, a.end);
  const auto on = static_cast<cudaStream_t>(stream);
  const auto blocks = [](int64_t count) { return static_cast<unsigned>(count); };
  prepare<<<blocks(a.n), grid::row_threads, 0, on>>>(a, buffers);
  sweep<<<dim3(blocks(shape.row_blocks), blocks(shape.splits)), grid::sweep_threads, 0, on>>>(a, buffers, shape);
  if (a.gradient) finish<<<blocks(shape.rows), grid::row_threads, 0, on>>>(a, buffers, shape);
  total<<<1, grid::total_threads, 0, on>>>(a, buffers, shape);
  return cudaGetLastError();
}

}  // namespace kuea::kernels
