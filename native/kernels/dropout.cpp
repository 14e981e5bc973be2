#include "kernels/dropout.h"

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

template <bool add, class T>
KUEA_INLINE void apply(const T* __restrict x, T* __restrict y, const DropoutMask& mask, int64_t rows, int64_t width) {
  const uint32_t threshold = mask.threshold;
  const float scale = mask.scale;
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const uint32_t key = mix(mask.keys[row] ^ mask.module * golden);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float kept = mix(key ^ static_cast<uint32_t>(i) * golden) < threshold ? 0.0f : load(x[i]) * scale;
      store(y + i, add ? load(y[i]) + kept : kept);
    }
  }
}

KUEA_CLONES void apply_float(const float* x, float* y, const DropoutMask& mask, int64_t rows, int64_t width) {
  apply<false>(x, y, mask, rows, width);
}
KUEA_CLONES void apply_bf16(const Bf16* x, Bf16* y, const DropoutMask& mask, int64_t rows, int64_t width) {
  apply<false>(x, y, mask, rows, width);
}
KUEA_CLONES void add_float(const float* x, float* y, const DropoutMask& mask, int64_t rows, int64_t width) {
  apply<true>(x, y, mask, rows, width);
}
KUEA_CLONES void add_bf16(const Bf16* x, Bf16* y, const DropoutMask& mask, int64_t rows, int64_t width) {
  apply<true>(x, y, mask, rows, width);
}

}  // namespace

void dropout(const float* x, float* y, const DropoutMask& mask, int64_t rows, int64_t width) { apply_float(x, y, mask, rows, width); }
void dropout(const Bf16* x, Bf16* y, const DropoutMask& mask, int64_t rows, int64_t width) { apply_bf16(x, y, mask, rows, width); }
void dropout_add(const float* x, float* y, const DropoutMask& mask, int64_t rows, int64_t width) { add_float(x, y, mask, rows, width); }
void dropout_add(const Bf16* x, Bf16* y, const DropoutMask& mask, int64_t rows, int64_t width) { add_bf16(x, y, mask, rows, width); }

}  // namespace kuea::kernels
