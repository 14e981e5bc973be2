#pragma once

#include <cstdint>

#include "kernels/clones.h"

// Numbers one at a time, for loops that vectorise: bf16 to and from fp32, and exp without a call.
namespace kuea::kernels {

/** A bf16 number's bits: the upper half of a float's. */
using Bf16 = uint16_t;

// The builtin and not std::bit_cast, which stays a call in the clones.

KUEA_INLINE float load(float x) { return x; }
KUEA_INLINE float load(Bf16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x) << 16); }

KUEA_INLINE void store(float* to, float x) { *to = x; }
// To nearest even. A NaN that comes of bf16 operands has no low bits set, so the carry leaves it one.
KUEA_INLINE void store(Bf16* to, float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  *to = static_cast<Bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/**
 * exp(x) to about 2 units in the last place, of x held to +-87: Cody and Waite's reduction and a polynomial. A NaN does not come through.
 */
KUEA_INLINE float exponential(float x) {
  const float low = x < 87.0f ? x : 87.0f;
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
  return p * __builtin_bit_cast(float, (static_cast<int32_t>(n) + 127) << 23);
}

/** 1 / (1 + exp(-x)). A NaN need not come through: callers multiply by x. */
KUEA_INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace kuea::kernels
