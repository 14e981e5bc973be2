#include "kernels/nf4.h"

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

template <class T>
KUEA_INLINE void decode(const uint8_t* __restrict codes, const float* __restrict scales, T* __restrict y, int64_t blocks) {
  for (int64_t block = 0; block < blocks; ++block, codes += nf4_block / 2, y += nf4_block) {
    // The block's 16 numbers, in the dtype that they come out in.
    T table[16];
    for (int i = 0; i < 16; ++i) store(table + i, nf4_values[i] * scales[block]);
    for (int64_t i = 0; i < nf4_block / 2; ++i) {
      y[2 * i] = table[codes[i] >> 4];
      y[2 * i + 1] = table[codes[i] & 15];
    }
  }
}

KUEA_CLONES void decode_float(const uint8_t* codes, const float* scales, float* y, int64_t blocks) { decode(codes, scales, y, blocks); }
KUEA_CLONES void decode_bf16(const uint8_t* codes, const float* scales, Bf16* y, int64_t blocks) { decode(codes, scales, y, blocks); }

KUEA_CLONES void encode(const float* __restrict x, const float* __restrict scales, uint8_t* __restrict codes, int64_t blocks) {
  for (int64_t block = 0; block < blocks; ++block, x += nf4_block, codes += nf4_block / 2) {
    const float inverse = scales[block] > 0 ? 1.0f / scales[block] : 0.0f;
    uint8_t code[nf4_block] = {};
    // The code is how many of the 15 middles between neighbouring values lie below.
    for (int k = 0; k < 15; ++k) {
      const float middle = 0.5f * (nf4_values[k] + nf4_values[k + 1]);
#pragma omp simd
      for (int64_t i = 0; i < nf4_block; ++i) code[i] = static_cast<uint8_t>(code[i] + (x[i] * inverse > middle ? 1 : 0));
    }
    for (int64_t i = 0; i < nf4_block / 2; ++i) codes[i] = static_cast<uint8_t>(code[2 * i] << 4 | code[2 * i + 1]);
  }
}

KUEA_CLONES void largest(const float* __restrict x, float* __restrict scales, int64_t blocks) {
  for (int64_t block = 0; block < blocks; ++block, x += nf4_block) {
    float most = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < nf4_block; ++i) {
      const float magnitude = x[i] < 0 ? -x[i] : x[i];
      most = magnitude > most ? magnitude : most;
    }
    scales[block] = most;
  }
}

}  // namespace

void nf4_scales(const float* x, float* scales, int64_t blocks) { largest(x, scales, blocks); }
void nf4_encode(const float* x, const float* scales, uint8_t* codes, int64_t blocks) { encode(x, scales, codes, blocks); }
void nf4_decode(const uint8_t* codes, const float* scales, float* y, int64_t blocks) { decode_float(codes, scales, y, blocks); }
void nf4_decode(const uint8_t* codes, const float* scales, Bf16* y, int64_t blocks) { decode_bf16(codes, scales, y, blocks); }

}  // namespace kuea::kernels
