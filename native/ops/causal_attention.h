#pragma once

#include <array>
#include <vector>

#include <ATen/core/Tensor.h>

namespace kuea {

/** What the backward of an attention needs besides its operands. */
struct CausalAttention {
  /** [tokens, width], heads beside each other. */
  at::Tensor out;
  /** fp32 [heads, length] of each sample: log of the row sums of exp. Empty off the CPU. */
  std::vector<at::Tensor> logsumexp;
};

/**
 * Causal softmax(q k^T / sqrt(d)) v of samples laid end to end, each attending to itself alone. q, k, v [tokens, heads * d] of one dtype;
 * `lengths` sums to the tokens. Nothing of size length x length outlives a block of rows.
 */
CausalAttention causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                                 const std::vector<int64_t>& lengths);

/** Gradients for q, k and v, each [tokens, heads * d], given g for `forward.out`. */
std::array<at::Tensor, 3> causal_attention_backward(const at::Tensor& g, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                    int64_t heads, const std::vector<int64_t>& lengths, const CausalAttention& forward);

}  // namespace kuea
