#pragma once

#include <cstdint>

#include "kernels/scalar.h"

namespace kuea::kernels {

/** MurmurHash3's 32-bit finaliser: a bijection in which every bit of the input reaches every bit of the output. */
KUEA_INLINE uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}

/** Multiplied by a counter before it is mixed in: 2^32 over the golden ratio, odd. */
inline constexpr uint32_t golden = 0x9e3779b9u;

/**
 * Which numbers are dropped: row r, feature i when mix(mix(keys[r] ^ module * golden) ^ i * golden) < threshold. Kept ones are multiplied
 * by scale.
 */
struct DropoutMask {
  const uint32_t* keys;
  uint32_t module, threshold;
  float scale;
};

/** y = mask(x) over rows of `width`. */
void dropout(const float* x, float* y, const DropoutMask& mask, int64_t rows, int64_t width);
void dropout(const Bf16* x, Bf16* y, const DropoutMask& mask, int64_t rows, int64_t width);

/** y += mask(x), the gradient's way back. */
void dropout_add(const float* x, float* y, const DropoutMask& mask, int64_t rows, int64_t width);
void dropout_add(const Bf16* x, Bf16* y, const DropoutMask& mask, int64_t rows, int64_t width);

}  // namespace kuea::kernels
