#pragma once

#include <cstdint>

#include "kernels/scalar.h"

namespace kuea::kernels {

/**
 * 4-bit NormalFloat (Dettmers et al. 2023): the published values, quantiles of the normal distribution scaled to [-1, 1] with an exact 0.
 */
inline constexpr float nf4_values[16] = {-1.0f,
                                         -0.6961928009986877f,
                                         -0.5250730514526367f,
                                         -0.39491748809814453f,
                                         -0.28444138169288635f,
                                         -0.18477343022823334f,
                                         -0.09105003625154495f,
                                         0.0f,
                                         0.07958029955625534f,
                                         0.16093020141124725f,
                                         0.24611230194568634f,
                                         0.33791524171829224f,
                                         0.44070982933044434f,
                                         0.5626170039176941f,
                                         0.7229568362236023f,
                                         1.0f};

/** Numbers that share a scale. */
inline constexpr int64_t nf4_block = 64;

/** The largest magnitude of each block of x. */
void nf4_scales(const float* x, float* scales, int64_t blocks);

/** The nearest of the 16 values times the block's scale; two codes a byte, the earlier number in the upper half. */
void nf4_encode(const float* x, const float* scales, uint8_t* codes, int64_t blocks);

void nf4_decode(const uint8_t* codes, const float* scales, float* y, int64_t blocks);
void nf4_decode(const uint8_t* codes, const float* scales, Bf16* y, int64_t blocks);

}  // namespace kuea::kernels
