#pragma once

#include <cstdint>

namespace kuea::kernels {

// Matrices as a product reads them: panels of a few rows, in each of them column after column. A last panel is filled up with zeros.
inline constexpr int64_t row_panel = 12, column_panel = 16;

inline int64_t panels(int64_t rows, int64_t panel) { return (rows + panel - 1) / panel; }

/** Packs `rows` rows of `width` numbers, each divided by its norm, into panels of `panel`; `out` is [panels, width, panel]. */
void pack_panels(const float* x, const float* norms, int64_t rows, int64_t width, int64_t panel, float* out);

/**
 * scores[i, j] = a_i . b_j + bias[j], a one panel of row_panel rows, b `count` panels of column_panel, the bias one number a column of b.
 * Each score is summed from the first column to the last, whatever else is computed: equal rows have equal scores.
 */
void panel_products(const float* a, const float* b, const float* bias, int64_t count, int64_t width, float* scores, int64_t stride);

}  // namespace kuea::kernels
