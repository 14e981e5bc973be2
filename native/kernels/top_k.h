#pragma once

#include <cstdint>

namespace kuea::kernels {

/** |x_i|^2 of `rows` rows of `width` numbers, summed in fp64: not finite exactly where a number of the row is not. */
void squared_norms(const float* x, int64_t rows, int64_t width, double* norms);

/** y = x / norms[row], rounded to fp32. */
void divide_rows(const float* x, const float* norms, int64_t rows, int64_t width, float* y);
void divide_rows(const float* x, const float* norms, int64_t rows, int64_t width, double* y);

/**
 * The best `k` of each of many lists, filled by scans: list i has its scores at scores[i k], descending, and where they came from at
 * indices[i k], ascending among equal scores. `worst[i]` is scores[i k + k - 1]. All start at minus infinity and index -1.
 */
struct BestLists {
  int64_t k;
  float* scores;
  int32_t* indices;
  float* worst;
};

/**
 * Offers scores[r, c] of a tile to list r, as index `origin` + c. A list must be offered ascending indices: then the first of equal scores
 * stays. False when a score is NaN.
 */
bool scan_rows(const float* tile, int64_t stride, int64_t rows, int64_t columns, int64_t origin, const BestLists& lists);

/** Offers scores[r, c] to list c, as index `origin` + r. */
bool scan_columns(const float* tile, int64_t stride, int64_t rows, int64_t columns, int64_t origin, const BestLists& lists);

}  // namespace kuea::kernels
