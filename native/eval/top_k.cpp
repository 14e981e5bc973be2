#include "eval/top_k.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include <ATen/Parallel.h>

#include "kernels/panels.h"
#include "kernels/top_k.h"
#include "runtime/error.h"

namespace kuea {
namespace {

/** Rows of a packed block of queries, and of the gallery: with their scores some 10 MB at a width of 512. */
constexpr int64_t query_block = 170 * kernels::row_panel, gallery_tile = 32 * kernels::column_panel;

/** Some rows of a matrix in panels. */
class Packed {
 public:
  Packed(const Features& features, int64_t panel, int64_t most)
      : features_(features),
        norms_(divisors(features)),
        panel_(panel),
        data_(static_cast<size_t>(kernels::panels(std::min(most, features.rows), panel) * panel * features.width)) {}

  void fill(int64_t begin, int64_t count) {
    const int64_t width = features_.width;
    at::parallel_for(0, kernels::panels(count, panel_), 4, [&](int64_t from, int64_t to) {
      const int64_t first = begin + from * panel_, rows = std::min(to * panel_, count) - from * panel_;
      kernels::pack_panels(features_.data + first * width, norms_.data() + first, rows, width, panel_,
                           data_.data() + from * panel_ * width);
    });
  }

  const float* panel(int64_t index) const { return data_.data() + index * panel_ * features_.width; }

 private:
  const Features& features_;
  std::vector<float> norms_;
  int64_t panel_;
  std::vector<float> data_;
};

class Lists {
 public:
  Lists(int64_t count, int64_t k)
      : ranking_{k, std::vector<int32_t>(static_cast<size_t>(count * k), -1), std::vector<float>(static_cast<size_t>(count * k), lowest)},
        worst_(static_cast<size_t>(count), lowest) {}

  kernels::BestLists from(int64_t first) {
    const int64_t k = ranking_.k;
    return {k, ranking_.scores.data() + first * k, ranking_.indices.data() + first * k, worst_.data() + first};
  }

  /** Throws where a list is not full: its scores were minus infinity. */
  Ranking take() {
    if (std::find(ranking_.indices.begin(), ranking_.indices.end(), -1) != ranking_.indices.end()) overflow();
    return std::move(ranking_);
  }

  [[noreturn]] static void overflow() {
    throw Error("non_finite", "expected products of features that fp32 can hold, found an overflow: normalise the features");
  }

 private:
  static constexpr float lowest = -std::numeric_limits<float>::infinity();
  Ranking ranking_;
  std::vector<float> worst_;
};

}  // namespace

Rankings top_k(const Features& queries, const Features& gallery, const std::vector<float>& bias, int64_t k, bool of_gallery) {
  Packed query(queries, kernels::row_panel, query_block), columns(gallery, kernels::column_panel, gallery_tile);
  Lists of_queries(queries.rows, std::min(k, gallery.rows)), of_columns(of_gallery ? gallery.rows : 0, std::min(k, queries.rows));
  // The scores of a block of queries with a tile of the gallery, and the tile's part of the bias.
  std::vector<float> scores(static_cast<size_t>(query_block * gallery_tile)), biases(static_cast<size_t>(gallery_tile));
  std::atomic<bool> numbers{true};
  // Both loops ascend, so that the first of equal scores is met first in either direction.
  for (int64_t q = 0; q < queries.rows; q += query_block) {
    const int64_t rows = std::min(query_block, queries.rows - q);
    query.fill(q, rows);
    for (int64_t g = 0; g < gallery.rows; g += gallery_tile) {
      const int64_t in_tile = std::min(gallery_tile, gallery.rows - g);
      columns.fill(g, in_tile);
      if (!bias.empty()) std::copy_n(bias.begin() + g, in_tile, biases.begin());
      at::parallel_for(0, kernels::panels(rows, kernels::row_panel), 1, [&](int64_t from, int64_t to) {
        for (int64_t panel = from; panel < to; ++panel) {
          const int64_t row = panel * kernels::row_panel;
          float* tile = scores.data() + row * gallery_tile;
          kernels::panel_products(query.panel(panel), columns.panel(0), biases.data(), kernels::panels(in_tile, kernels::column_panel),
                                  queries.width, tile, gallery_tile);
          const int64_t count = std::min(kernels::row_panel, rows - row);
          if (!kernels::scan_rows(tile, gallery_tile, count, in_tile, g, of_queries.from(q + row))) numbers = false;
        }
      });
      if (!of_gallery) continue;
      at::parallel_for(0, in_tile, 64, [&](int64_t from, int64_t to) {
        if (!kernels::scan_columns(scores.data() + from, gallery_tile, rows, to - from, q, of_columns.from(g + from))) numbers = false;
      });
    }
  }
  if (!numbers) Lists::overflow();
  Rankings out{of_queries.take(), std::nullopt};
  if (of_gallery) out.of_gallery = of_columns.take();
  return out;
}

}  // namespace kuea
