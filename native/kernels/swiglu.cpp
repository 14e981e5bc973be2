#include "kernels/swiglu.h"

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

template <class T>
KUEA_INLINE void forward(const T* __restrict gate, const T* __restrict up, T* __restrict y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float x = load(gate[i]);
    store(y + i, x * sigmoid(x) * load(up[i]));
  }
}

template <class T>
KUEA_INLINE void backward(const T* __restrict g, T* __restrict gate, T* __restrict up, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float x = load(gate[i]), dy = load(g[i]);
    const float s = sigmoid(x);
    const float du = dy * x * s;
    store(gate + i, dy * load(up[i]) * s * (1.0f + x * (1.0f - s)));
    store(up + i, du);
  }
}

KUEA_CLONES void forward_float(const float* gate, const float* up, float* y, int64_t count) { forward(gate, up, y, count); }
KUEA_CLONES void forward_bf16(const Bf16* gate, const Bf16* up, Bf16* y, int64_t count) { forward(gate, up, y, count); }
KUEA_CLONES void backward_float(const float* g, float* gate, float* up, int64_t count) { backward(g, gate, up, count); }
KUEA_CLONES void backward_bf16(const Bf16* g, Bf16* gate, Bf16* up, int64_t count) { backward(g, gate, up, count); }

}  // namespace

void swiglu(const float* gate, const float* up, float* y, int64_t count) { forward_float(gate, up, y, count); }
void swiglu(const Bf16* gate, const Bf16* up, Bf16* y, int64_t count) { forward_bf16(gate, up, y, count); }
void swiglu_backward(const float* g, float* gate, float* up, int64_t count) { backward_float(g, gate, up, count); }
void swiglu_backward(const Bf16* g, Bf16* gate, Bf16* up, int64_t count) { backward_bf16(g, gate, up, count); }

}  // namespace kuea::kernels
