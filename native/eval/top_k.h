#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "eval/features.h"

namespace kuea {

/** The best of each row: [rows, k], scores descending; equal scores by the lowest index. */
struct Ranking {
  int64_t k;
  std::vector<int32_t> indices;
  std::vector<float> scores;
};

struct Rankings {
  /** For each query the best min(k, gallery rows) of the gallery. */
  Ranking of_queries;
  /** For each row of the gallery the best min(k, queries) of the queries, where that was asked for. */
  std::optional<Ranking> of_gallery;
};

/**
 * Scores q . g + bias[g] (fp32, on the CPU) in tiles, both rankings from one sweep; the whole matrix is never there. A query's scores do
 * not depend on which queries it comes with. `bias` is one number a row of the gallery, or empty. Throws Error `non_finite`.
 */
Rankings top_k(const Features& queries, const Features& gallery, const std::vector<float>& bias, int64_t k, bool of_gallery);

}  // namespace kuea
