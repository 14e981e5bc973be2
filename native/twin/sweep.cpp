#include "twin/sweep.h"

#include <memory>
#include <vector>

#include "kernels/alignment/blocks.h"

namespace kuea::kernels {
namespace {

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
