#include "eval/top_k.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "kernels/top_k.h"
#include "runtime/error.h"

namespace kuea {
namespace {

// Every product has the same shape, the last ones filled up with zeros: a matrix product may add up in another order where its shape is
// another, and equal rows would get unequal scores.
constexpr int64_t query_tile = 256, gallery_tile = 2048, gallery_step = 64;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/** Tiles of equal width, a multiple of gallery_step: a gallery of ten rows does not pay for 2,048. */
int64_t gallery_width(int64_t rows) {
  const int64_t tiles = ceil_div(rows, gallery_tile);
  return ceil_div(ceil_div(rows, tiles), gallery_step) * gallery_step;
}

/** Rows [begin, begin + tile's height) of the matrix, divided; zeros below its end. Returns how many there are. */
int64_t fill(const Features& features, const std::vector<float>& norms, int64_t begin, const at::Tensor& tile) {
  const int64_t count = std::min(tile.size(0), features.rows - begin), width = features.width;
  float* out = tile.data_ptr<float>();
  at::parallel_for(0, count, 64, [&](int64_t from, int64_t to) {
    kernels::divide_rows(features.data + (begin + from) * width, norms.data() + begin + from, to - from, width, out + from * width);
  });
  std::fill(out + count * width, out + tile.numel(), 0.0f);
  return count;
}

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
  at::NoGradGuard no_grad;
  const auto query_norms = divisors(queries), gallery_norms = divisors(gallery);
  Lists of_queries(queries.rows, std::min(k, gallery.rows)), of_columns(of_gallery ? gallery.rows : 0, std::min(k, queries.rows));
  const int64_t width = gallery_width(gallery.rows);
  const auto query = at::zeros({query_tile, queries.width}), columns = at::zeros({width, gallery.width});
  auto scores = at::zeros({query_tile, width});
  const auto biases = at::zeros({width});
  std::atomic<bool> numbers{true};
  // Both loops ascend, so that the first of equal scores is met first in either direction.
  for (int64_t g = 0; g < gallery.rows; g += width) {
    const int64_t in_gallery = fill(gallery, gallery_norms, g, columns);
    if (!bias.empty()) std::copy_n(bias.begin() + g, in_gallery, biases.data_ptr<float>());
    for (int64_t q = 0; q < queries.rows; q += query_tile) {
      const int64_t in_queries = fill(queries, query_norms, q, query);
      at::mm_out(scores, query, columns.t());
      if (!bias.empty()) scores.add_(biases);
      const float* tile = scores.const_data_ptr<float>();
      at::parallel_for(0, in_queries, 16, [&](int64_t from, int64_t to) {
        if (!kernels::scan_rows(tile + from * width, width, to - from, in_gallery, g, of_queries.from(q + from))) numbers = false;
      });
      if (!of_gallery) continue;
      at::parallel_for(0, in_gallery, 256, [&](int64_t from, int64_t to) {
        if (!kernels::scan_columns(tile + from, width, in_queries, to - from, q, of_columns.from(g + from))) numbers = false;
      });
    }
  }
  if (!numbers) Lists::overflow();
  Rankings out{of_queries.take(), std::nullopt};
  if (of_gallery) out.of_gallery = of_columns.take();
  return out;
}

}  // namespace kuea
