#include "kernels/rms_norm.h"

#include <cmath>

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

KUEA_INLINE float rounded(float x, const float*) { return x; }
KUEA_INLINE float rounded(float x, const Bf16*) {
  Bf16 half;
  store(&half, x);
  return load(half);
}

template <class T>
KUEA_INLINE void forward(const T* __restrict x, const T* __restrict weight, T* __restrict y, float* rstd, int64_t rows, int64_t width,
                         float eps) {
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += load(x[i]) * load(x[i]);
    const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
    if (rstd != nullptr) rstd[row] = scale;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) store(y + i, load(weight[i]) * rounded(load(x[i]) * scale, weight));
  }
}

template <class T>
KUEA_INLINE void backward(const T* __restrict x, const T* __restrict weight, const float* rstd, const T* __restrict g, T* __restrict dx,
                          int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, x += width, g += width, dx += width) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += load(weight[i]) * load(g[i]) * load(x[i]);
    const float scale = rstd[row];
    const float along = sum * scale * scale / static_cast<float>(width);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) store(dx + i, load(dx[i]) + scale * (load(weight[i]) * load(g[i]) - load(x[i]) * along));
  }
}

KUEA_CLONES void forward_float(const float* x, const float* w, float* y, float* rstd, int64_t rows, int64_t width, float eps) {
  forward(x, w, y, rstd, rows, width, eps);
}
KUEA_CLONES void forward_bf16(const Bf16* x, const Bf16* w, Bf16* y, float* rstd, int64_t rows, int64_t width, float eps) {
  forward(x, w, y, rstd, rows, width, eps);
}
KUEA_CLONES void backward_float(const float* x, const float* w, const float* rstd, const float* g, float* dx, int64_t rows, int64_t width) {
  backward(x, w, rstd, g, dx, rows, width);
}
KUEA_CLONES void backward_bf16(const Bf16* x, const Bf16* w, const float* rstd, const Bf16* g, Bf16* dx, int64_t rows, int64_t width) {
  backward(x, w, rstd, g, dx, rows, width);
}

}  // namespace

void rms_norm(const float* x, const float* weight, float* y, float* rstd, int64_t rows, int64_t width, float eps) {
  forward_float(x, weight, y, rstd, rows, width, eps);
}
void rms_norm(const Bf16* x, const Bf16* weight, Bf16* y, float* rstd, int64_t rows, int64_t width, float eps) {
  forward_bf16(x, weight, y, rstd, rows, width, eps);
}
void rms_norm_backward(const float* x, const float* weight, const float* rstd, const float* g, float* dx, int64_t rows, int64_t width) {
  backward_float(x, weight, rstd, g, dx, rows, width);
}
void rms_norm_backward(const Bf16* x, const Bf16* weight, const float* rstd, const Bf16* g, Bf16* dx, int64_t rows, int64_t width) {
  backward_bf16(x, weight, rstd, g, dx, rows, width);
}

}  // namespace kuea::kernels
