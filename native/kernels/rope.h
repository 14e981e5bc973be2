#pragma once

#include <cstdint>

#include "kernels/scalar.h"

namespace kuea::kernels {

/**
 * Rotary position embedding in the rotate-half layout, in place: of each head's `dim` numbers, i and i + dim / 2 are a pair that turns by
 * the row's i-th angle. x [rows, heads * dim], rows `stride` numbers apart; cosine and sine [rows, dim / 2]. `sign` -1 turns back, which is
 * also the gradient.
 */
void rope(float* x, const float* cosine, const float* sine, int64_t rows, int64_t stride, int64_t heads, int64_t dim, float sign);
void rope(Bf16* x, const float* cosine, const float* sine, int64_t rows, int64_t stride, int64_t heads, int64_t dim, float sign);

}  // namespace kuea::kernels
