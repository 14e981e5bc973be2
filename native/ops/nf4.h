#pragma once

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * A matrix as 4-bit NormalFloat with double quantisation (QLoRA, Dettmers et al. 2023): a code a number, a scale a block of 64; the scales
 * are 8-bit in blocks of 256 about their mean. 4.127 bits a number.
 */
struct Nf4 {
  std::vector<int64_t> shape;
  /** uint8 [numbers / 2], the earlier number in the upper half. */
  at::Tensor codes;
  /** int8 [blocks]; a block's scale is mean + scale * step of its group of 256. */
  at::Tensor scales;
  /** fp32 [blocks / 256, rounded up]. */
  at::Tensor steps;
  float mean = 0;
};

/** Of a matrix of any floating dtype on the CPU, whose size is a multiple of 64. Converted a slice at a time. */
Nf4 nf4_quantize(const at::Tensor& matrix, at::Device device);

/** The matrix in fp32 or bf16. */
at::Tensor nf4_dequantize(const Nf4& packed, at::ScalarType dtype);

}  // namespace kuea
