#include "kernels/quick_gelu.h"

#include "kernels/clones.h"
#include "kernels/scalar.h"

namespace kuea::kernels {
namespace {

template <class T>
KUEA_INLINE void forward(const T* __restrict x, T* __restrict y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float v = load(x[i]);
    store(y + i, v * sigmoid(1.702f * v));
  }
}

template <class T>
KUEA_INLINE void backward(const T* __restrict x, const T* __restrict g, T* __restrict dx, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float v = load(x[i]);
    const float s = sigmoid(1.702f * v);
    store(dx + i, load(g[i]) * (s + 1.702f * v * s * (1.0f - s)));
  }
}

KUEA_CLONES void forward_float(const float* x, float* y, int64_t count) { forward(x, y, count); }
KUEA_CLONES void forward_bf16(const Bf16* x, Bf16* y, int64_t count) { forward(x, y, count); }
KUEA_CLONES void backward_float(const float* x, const float* g, float* dx, int64_t count) { backward(x, g, dx, count); }
KUEA_CLONES void backward_bf16(const Bf16* x, const Bf16* g, Bf16* dx, int64_t count) { backward(x, g, dx, count); }

}  // namespace

void quick_gelu(const float* x, float* y, int64_t count) { forward_float(x, y, count); }
void quick_gelu(const Bf16* x, Bf16* y, int64_t count) { forward_bf16(x, y, count); }
void quick_gelu_backward(const float* x, const float* g, float* dx, int64_t count) { backward_float(x, g, dx, count); }
void quick_gelu_backward(const Bf16* x, const Bf16* g, Bf16* dx, int64_t count) { backward_bf16(x, g, dx, count); }

}  // namespace kuea::kernels
