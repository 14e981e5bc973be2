#include "kernels/panels.h"

#include <algorithm>
#include <cstring>

#include "kernels/clones.h"
#include "kernels/scalar.h"

namespace kuea::kernels {
namespace {

// Accumulators are what fits the registers: twelve of 16 lanes, or twice six pairs of 8.
using Lanes16 __attribute__((vector_size(64))) = float;
using Lanes8 __attribute__((vector_size(32))) = float;

template <class Lanes, int rows, int vectors>
KUEA_INLINE void product(const float* a, const float* b, const float* bias, int64_t width, float* scores, int64_t stride) {
  constexpr int lanes = sizeof(Lanes) / sizeof(float);
  Lanes sums[rows][vectors] = {};
  for (int64_t k = 0; k < width; ++k) {
    Lanes columns[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) std::memcpy(columns + v, b + k * column_panel + v * lanes, sizeof(Lanes));
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sums[i][v] += a[k * row_panel + i] * columns[v];
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      Lanes score;
      std::memcpy(&score, bias + v * lanes, sizeof score);
      score += sums[i][v];
      std::memcpy(scores + i * stride + v * lanes, &score, sizeof score);
    }
  }
}

template <class Lanes, int rows, int vectors>
KUEA_INLINE void products(const float* a, const float* b, const float* bias, int64_t count, int64_t width, float* scores, int64_t stride) {
  for (int64_t p = 0; p < count; ++p, b += width * column_panel, bias += column_panel, scores += column_panel) {
    for (int i = 0; i < row_panel; i += rows) product<Lanes, rows, vectors>(a + i, b, bias, width, scores + i * stride, stride);
  }
}

KUEA_CLONES void products_8(const float* a, const float* b, const float* bias, int64_t count, int64_t width, float* scores,
                            int64_t stride) {
  products<Lanes8, 6, 2>(a, b, bias, count, width, scores, stride);
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
__attribute__((target("arch=x86-64-v4"))) void products_16(const float* a, const float* b, const float* bias, int64_t count, int64_t width,
                                                           float* scores, int64_t stride) {
  products<Lanes16, 12, 1>(a, b, bias, count, width, scores, stride);
}
const auto best = __builtin_cpu_supports("x86-64-v4") ? products_16 : products_8;
#else
const auto best = products_8;
#endif

KUEA_CLONES void pack(const float* x, const float* norms, int64_t rows, int64_t width, int64_t panel, float* out) {
  for (int64_t first = 0; first < rows; first += panel, out += panel * width) {
    const int64_t count = std::min(panel, rows - first);
    if (count < panel) std::fill(out, out + panel * width, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const float* row = x + (first + i) * width;
      const float norm = norms[first + i];
      for (int64_t k = 0; k < width; ++k) out[k * panel + i] = row[k] / norm;
    }
  }
}

}  // namespace

void pack_panels(const float* x, const float* norms, int64_t rows, int64_t width, int64_t panel, float* out) {
  pack(x, norms, rows, width, panel, out);
}

void panel_products(const float* a, const float* b, const float* bias, int64_t count, int64_t width, float* scores, int64_t stride) {
  best(a, b, bias, count, width, scores, stride);
}

}  // namespace kuea::kernels
