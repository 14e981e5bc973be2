#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/linear.h"

namespace kuea {

/** Names of the four tensors of a fused-qkv attention, under a block's prefix. */
struct AttentionNames {
  std::string qkv_weight, qkv_bias, proj;
};

/** Multi-head self-attention with q, k, v stacked in one map (OpenAI's in_proj, DINOv2's qkv), through libtorch's SDPA. */
class Attention {
 public:
  Attention(Parameters& parameters, const AttentionNames& names, int64_t width, int64_t heads, at::ScalarType compute);

  /** x [n, tokens, width] -> [n, tokens, width]. */
  at::Tensor operator()(const at::Tensor& x) const;

  /** The first token's row alone, [n, 1, width]: keys and values of all tokens, the query of one. */
  at::Tensor first_token(const at::Tensor& x) const;

  /** Where a token sees those up to itself alone: x [n, tokens, width] -> [n, tokens, width]. */
  at::Tensor causal(const at::Tensor& x) const;

  /** Of that one row a sample: `token` [n, 1, width] is x's at positions int64 [n]. Returns [n, 1, width]. */
  at::Tensor causal_row(const at::Tensor& x, const at::Tensor& token, const at::Tensor& positions) const;

 private:
  /** [n, tokens, parts * width] -> `parts` views [n, heads, tokens, width / heads]. */
  std::vector<at::Tensor> split_heads(const at::Tensor& x, int64_t parts) const;

  int64_t width_;
  int64_t heads_;
  Linear qkv_;
  Linear proj_;
};

}  // namespace kuea
