#include "kernels/rope.h"

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

template <class T>
KUEA_INLINE void turn(T* __restrict x, const float* __restrict cosine, const float* __restrict sine, int64_t rows, int64_t stride,
                      int64_t heads, int64_t dim, float sign) {
  const int64_t half = dim / 2;
  for (int64_t row = 0; row < rows; ++row, cosine += half, sine += half) {
    for (int64_t head = 0; head < heads; ++head) {
      T* __restrict first = x + row * stride + head * dim;
      T* __restrict second = first + half;
#pragma omp simd
      for (int64_t i = 0; i < half; ++i) {
        const float a = load(first[i]), b = load(second[i]), s = sign * sine[i];
        store(first + i, a * cosine[i] - b * s);
        store(second + i, b * cosine[i] + a * s);
      }
    }
  }
}

KUEA_CLONES void turn_float(float* x, const float* c, const float* s, int64_t rows, int64_t stride, int64_t heads, int64_t dim,
                            float sign) {
  turn(x, c, s, rows, stride, heads, dim, sign);
}
KUEA_CLONES void turn_bf16(Bf16* x, const float* c, const float* s, int64_t rows, int64_t stride, int64_t heads, int64_t dim, float sign) {
  turn(x, c, s, rows, stride, heads, dim, sign);
}

}  // namespace

void rope(float* x, const float* cosine, const float* sine, int64_t rows, int64_t stride, int64_t heads, int64_t dim, float sign) {
  turn_float(x, cosine, sine, rows, stride, heads, dim, sign);
}
void rope(Bf16* x, const float* cosine, const float* sine, int64_t rows, int64_t stride, int64_t heads, int64_t dim, float sign) {
  turn_bf16(x, cosine, sine, rows, stride, heads, dim, sign);
}

}  // namespace kuea::kernels
