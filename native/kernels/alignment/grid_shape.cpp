#include <algorithm>

#include "kernels/alignment/blocks.h"

namespace kuea::kernels {
namespace {

// Blocks that a sweep aims at: two for each multiprocessor of the largest GPUs. A constant, so that the bits do not depend on which GPU it
// is; it also bounds the partial gradients, at 64 rows a block.
constexpr int64_t wanted_blocks = 256;

}  // namespace

GridShape grid_shape(int64_t n, int64_t begin, int64_t end) {
  const auto tiles = [](int64_t count) { return (count + grid::side - 1) / grid::side; };
  const auto row_blocks = tiles(end - begin);
  const auto splits = std::clamp(wanted_blocks / row_blocks, int64_t{1}, tiles(n));
  const auto columns = (tiles(n) + splits - 1) / splits;
  // Rounding up may leave the last of them without columns.
  return {end - begin, row_blocks, (tiles(n) + columns - 1) / columns, columns};
}

}  // namespace kuea::kernels
