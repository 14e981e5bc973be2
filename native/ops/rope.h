#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace kuea {

/** Cosines and sines of every position's angles, fp32 [tokens, dim / 2]: position * theta^(-2i / dim). */
struct RotaryTable {
  at::Tensor cosine, sine;
};

/** Of samples laid end to end, each from position `first` on. */
RotaryTable rotary_table(const std::vector<int64_t>& lengths, int64_t first, int64_t dim, double theta, at::Device device);

/** Turns x [tokens, heads * dim] in place (rotate-half: i and i + dim / 2 are a pair); `back` undoes it, which is also the gradient. */
void rope_(at::Tensor& x, const RotaryTable& table, bool back = false);

}  // namespace kuea
