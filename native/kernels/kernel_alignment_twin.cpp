#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/kernel_alignment_blocks.h"

namespace kuea::kernels {
namespace {

// Blocks that a sweep aims at: two for each multiprocessor of the largest GPUs. A constant, so that the bits do not depend on which GPU it
// is; it also bounds the partial gradients, at 64 rows a block.
constexpr int64_t wanted_blocks = 256;

template <class State>
struct HostTeam {
  std::vector<State> states;
  bool reversed;

  template <class Phase>
  void each(Phase phase) {
    const int count = static_cast<int>(states.size());
    for (int i = 0; i < count; ++i) {
      const int thread = reversed ? count - 1 - i : i;
      phase(thread, states[static_cast<size_t>(thread)]);
    }
  }
};

}  // namespace

GridShape grid_shape(int64_t n, int64_t begin, int64_t end) {
  const auto tiles = [](int64_t count) { return (count + grid::side - 1) / grid::side; };
  const auto row_blocks = tiles(end - begin);
  const auto splits = std::clamp(wanted_blocks / row_blocks, int64_t{1}, tiles(n));
  const auto columns = (tiles(n) + splits - 1) / splits;
  // Rounding up may leave the last of them without columns.
  return {end - begin, row_blocks, (tiles(n) + columns - 1) / columns, columns};
}

void sweep_grid_twin(const GridAlignment& a, const GridBuffers& b, bool reversed) {
  const auto shape = grid_shape(a.n, a.begin, a.end);
  HostTeam<grid::NoState> row_team{std::vector<grid::NoState>(grid::row_threads), reversed},
      total_team{std::vector<grid::NoState>(grid::total_threads), reversed};
  HostTeam<grid::SweepState> sweep_team{std::vector<grid::SweepState>(grid::sweep_threads), reversed};
  grid::PrepareShared prepare;
  for (int64_t row = 0; row < a.n; ++row) grid::prepare_block(row_team, prepare, a, b, row);
  const auto sweep = std::make_unique<grid::SweepShared>();
  for (int row_block = 0; row_block < shape.row_blocks; ++row_block) {
    for (int split = 0; split < shape.splits; ++split) grid::sweep_block(sweep_team, *sweep, a, b, shape, row_block, split);
  }
  for (int64_t row = 0; a.gradient && row < shape.rows; ++row) grid::finish_block(row_team, a, b, shape, row);
  grid::TotalShared total;
  grid::total_block(total_team, total, a, b, shape);
}

}  // namespace kuea::kernels
