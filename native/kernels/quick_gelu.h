#pragma once

#include <cstdint>

#include "kernels/scalar.h"

namespace kuea::kernels {

/** y = x sigmoid(1.702 x), OpenAI's GELU, over count numbers; arithmetic in fp32, bf16 rounded to nearest even. */
void quick_gelu(const float* x, float* y, int64_t count);
void quick_gelu(const Bf16* x, Bf16* y, int64_t count);

/** dx = g (s + 1.702 x s (1 - s)) with s = sigmoid(1.702 x). */
void quick_gelu_backward(const float* x, const float* g, float* dx, int64_t count);
void quick_gelu_backward(const Bf16* x, const Bf16* g, Bf16* dx, int64_t count);

}  // namespace kuea::kernels
