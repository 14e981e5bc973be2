#include "kernels/quick_gelu.h"

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

// Inlined into every clone of the functions below, and so compiled for its machine; for the same reason the builtin and not std::bit_cast, which stays a
// call there.
#define KUEA_INLINE __attribute__((always_inline)) inline

KUEA_INLINE float load(float x) { return x; }
KUEA_INLINE float load(Bf16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x) << 16); }

KUEA_INLINE void store(float* to, float x) { *to = x; }
// To nearest even. A NaN that comes of bf16 operands has no low bits set, so the carry leaves it one.
KUEA_INLINE void store(Bf16* to, float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  *to = static_cast<Bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/** 1 / (1 + exp(-x)) to about 2 units in the last place: exp by Cody and Waite's reduction and a polynomial, so that the loops around it vectorise. A NaN
 * need not come through: its callers multiply by x. */
KUEA_INLINE float sigmoid(float x) {
  const float low = x > -87.0f ? -x : 87.0f;
  const float t = low > -87.0f ? low : -87.0f;
  // Adding and taking away 1.5 * 2^23 rounds to an integer.
  const float n = (t * 1.44269504f + 12582912.0f) - 12582912.0f;
  const float r = (t - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scale = __builtin_bit_cast(float, (static_cast<int32_t>(n) + 127) << 23);
  return 1.0f / (1.0f + p * scale);
}

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
