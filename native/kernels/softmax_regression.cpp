#include "kernels/softmax_regression.h"

#include <cstring>

#include "kernels/clones.h"
#include "kernels/scalar.h"

namespace kuea::kernels {
namespace {

// Few classes make products that a general matrix product does badly: both are written out here, by blocks of sums that fit the registers.
// Each sum has its order from the shapes alone.
constexpr int64_t lanes = 4;
using Lanes __attribute__((vector_size(lanes * sizeof(double)))) = double;

KUEA_INLINE void load_lanes(Lanes& to, const double* x) { std::memcpy(&to, x, sizeof to); }

/** `n` rows with `m` classes, the products of the lanes summed apart. */
template <int n, int m>
KUEA_INLINE void logits_block(const double* rows, const double* weight, int64_t width, double* logits, int64_t stride) {
  Lanes sums[n][m] = {};
  int64_t k = 0;
  for (; k + lanes <= width; k += lanes) {
    Lanes x[n];
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) load_lanes(x[i], rows + i * width + k);
#pragma GCC unroll 4
    for (int c = 0; c < m; ++c) {
      Lanes w;
      load_lanes(w, weight + c * width + k);
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i) sums[i][c] += x[i] * w;
    }
  }
  for (int i = 0; i < n; ++i) {
    for (int c = 0; c < m; ++c) {
      double sum = (sums[i][c][0] + sums[i][c][1]) + (sums[i][c][2] + sums[i][c][3]);
      for (int64_t rest = k; rest < width; ++rest) sum += rows[i * width + rest] * weight[c * width + rest];
      logits[i * stride + c] = sum;
    }
  }
}

template <int m>
KUEA_INLINE void logits_classes(const double* rows, const double* weight, int64_t count, int64_t width, double* logits, int64_t stride) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4) logits_block<4, m>(rows + r * width, weight, width, logits + r * stride, stride);
  for (; r < count; ++r) logits_block<1, m>(rows + r * width, weight, width, logits + r * stride, stride);
}

KUEA_CLONES void all_logits(const double* rows, const double* weight, int64_t count, int64_t width, int64_t classes, double* logits) {
  int64_t c = 0;
  for (; c + 3 <= classes; c += 3) logits_classes<3>(rows, weight + c * width, count, width, logits + c, classes);
  for (; c < classes; ++c) logits_classes<1>(rows, weight + c * width, count, width, logits + c, classes);
}

/** `v` vectors of columns of `m` classes. */
template <int m, int v>
KUEA_INLINE void gradient_block(const double* residuals, const double* rows, int64_t count, int64_t width, int64_t classes,
                                double* gradient) {
  Lanes sums[m][v];
  for (int c = 0; c < m; ++c)
    for (int i = 0; i < v; ++i) load_lanes(sums[c][i], gradient + c * width + i * lanes);
  for (int64_t r = 0; r < count; ++r) {
    Lanes x[v];
#pragma GCC unroll 4
    for (int i = 0; i < v; ++i) load_lanes(x[i], rows + r * width + i * lanes);
#pragma GCC unroll 4
    for (int c = 0; c < m; ++c) {
      const double residual = residuals[r * classes + c];
#pragma GCC unroll 4
      for (int i = 0; i < v; ++i) sums[c][i] += residual * x[i];
    }
  }
  for (int c = 0; c < m; ++c)
    for (int i = 0; i < v; ++i) std::memcpy(gradient + c * width + i * lanes, &sums[c][i], sizeof(Lanes));
}

template <int m>
KUEA_INLINE void gradient_classes(const double* residuals, const double* rows, int64_t count, int64_t width, int64_t classes,
                                  double* gradient) {
  int64_t k = 0;
  for (; k + 4 * lanes <= width; k += 4 * lanes) gradient_block<m, 4>(residuals, rows + k, count, width, classes, gradient + k);
  for (; k + lanes <= width; k += lanes) gradient_block<m, 1>(residuals, rows + k, count, width, classes, gradient + k);
  for (; k < width; ++k)
    for (int64_t r = 0; r < count; ++r)
      for (int c = 0; c < m; ++c) gradient[c * width + k] += residuals[r * classes + c] * rows[r * width + k];
}

KUEA_CLONES void whole_gradient(const double* residuals, const double* rows, int64_t count, int64_t width, int64_t classes,
                                double* gradient) {
  int64_t c = 0;
  for (; c + 3 <= classes; c += 3) gradient_classes<3>(residuals + c, rows, count, width, classes, gradient + c * width);
  for (; c < classes; ++c) gradient_classes<1>(residuals + c, rows, count, width, classes, gradient + c * width);
}

}  // namespace

void regression_logits(const double* rows, const double* weight, int64_t count, int64_t width, int64_t classes, double* logits) {
  all_logits(rows, weight, count, width, classes, logits);
}

void regression_gradient(const double* residuals, const double* rows, int64_t count, int64_t width, int64_t classes, double* gradient) {
  whole_gradient(residuals, rows, count, width, classes, gradient);
}

}  // namespace kuea::kernels
