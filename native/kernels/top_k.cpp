#include "kernels/top_k.h"

#include <algorithm>

#include "kernels/clones.h"
#include "kernels/scalar.h"

namespace kuea::kernels {
namespace {

/** Scores that are compared at once; most blocks hold nothing that enters a list. */
constexpr int64_t block = 32;

/** Puts a score that beats the list's worst behind its equals. False for NaN. */
bool insert(const BestLists& lists, int64_t list, float score, int64_t index) {
  if (score != score) return false;
  float* scores = lists.scores + list * lists.k;
  int32_t* indices = lists.indices + list * lists.k;
  int64_t place = lists.k - 1;
  for (; place > 0 && scores[place - 1] < score; --place) {
    scores[place] = scores[place - 1];
    indices[place] = indices[place - 1];
  }
  scores[place] = score;
  indices[place] = static_cast<int32_t>(index);
  lists.worst[list] = scores[lists.k - 1];
  return true;
}

/** NaN enters too, so that it is seen. */
KUEA_INLINE bool enters(float score, float worst) { return !(score <= worst); }

KUEA_CLONES bool rows_scan(const float* tile, int64_t stride, int64_t rows, int64_t columns, int64_t origin, const BestLists& lists) {
  bool numbers = true;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = tile + r * stride;
    for (int64_t start = 0; start < columns; start += block) {
      const int64_t end = std::min(start + block, columns);
      const float worst = lists.worst[r];
      int some = 0;
#pragma omp simd reduction(| : some)
      for (int64_t c = start; c < end; ++c) some |= enters(row[c], worst) ? 1 : 0;
      if (some == 0) continue;
      for (int64_t c = start; c < end; ++c)
        if (enters(row[c], lists.worst[r])) numbers &= insert(lists, r, row[c], origin + c);
    }
  }
  return numbers;
}

KUEA_CLONES bool columns_scan(const float* tile, int64_t stride, int64_t rows, int64_t columns, int64_t origin, const BestLists& lists) {
  bool numbers = true;
  const float* worst = lists.worst;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = tile + r * stride;
    for (int64_t start = 0; start < columns; start += block) {
      const int64_t end = std::min(start + block, columns);
      int some = 0;
#pragma omp simd reduction(| : some)
      for (int64_t c = start; c < end; ++c) some |= enters(row[c], worst[c]) ? 1 : 0;
      if (some == 0) continue;
      for (int64_t c = start; c < end; ++c)
        if (enters(row[c], worst[c])) numbers &= insert(lists, c, row[c], origin + r);
    }
  }
  return numbers;
}

KUEA_CLONES void norms_of(const float* x, int64_t rows, int64_t width, double* norms) {
  for (int64_t r = 0; r < rows; ++r, x += width) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    norms[r] = sum;
  }
}

template <class T>
KUEA_INLINE void divide(const float* x, const float* norms, int64_t rows, int64_t width, T* y) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    const float norm = norms[r];
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) y[i] = static_cast<T>(x[i] / norm);
  }
}

KUEA_CLONES void divide_float(const float* x, const float* norms, int64_t rows, int64_t width, float* y) {
  divide(x, norms, rows, width, y);
}
KUEA_CLONES void divide_double(const float* x, const float* norms, int64_t rows, int64_t width, double* y) {
  divide(x, norms, rows, width, y);
}

}  // namespace

void squared_norms(const float* x, int64_t rows, int64_t width, double* norms) { norms_of(x, rows, width, norms); }

void divide_rows(const float* x, const float* norms, int64_t rows, int64_t width, float* y) { divide_float(x, norms, rows, width, y); }
void divide_rows(const float* x, const float* norms, int64_t rows, int64_t width, double* y) { divide_double(x, norms, rows, width, y); }

bool scan_rows(const float* tile, int64_t stride, int64_t rows, int64_t columns, int64_t origin, const BestLists& lists) {
  return rows_scan(tile, stride, rows, columns, origin, lists);
}

bool scan_columns(const float* tile, int64_t stride, int64_t rows, int64_t columns, int64_t origin, const BestLists& lists) {
  return columns_scan(tile, stride, rows, columns, origin, lists);
}

}  // namespace kuea::kernels
