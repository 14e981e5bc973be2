#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "nn/attention.h"
#include "nn/layer_norm.h"
#include "nn/mlp.h"

namespace kuea {

/** What distinguishes one upstream's block from another's: names, eps, activation, LayerScale. */
struct BlockSpec {
  std::string norm1, norm2, mlp_first, mlp_second;
  AttentionNames attention;
  /** Names of the LayerScale vectors; empty where there are none. */
  std::string scale1, scale2;
  int64_t width, heads, hidden;
  double eps;
  Activation activation;
};

/** Pre-norm transformer block: x += ls1 * attn(norm1(x)); x += ls2 * mlp(norm2(x)). The residual stream is fp32, the branches `compute`. */
class Block {
 public:
  Block(Parameters& parameters, const BlockSpec& spec, at::ScalarType compute);

  /** x fp32 [n, tokens, width] -> the same shape. */
  at::Tensor operator()(const at::Tensor& x) const;

  /**
   * The first token's row of the same, fp32 [n, 1, width]. For a last block whose other rows nobody reads: their query, output projection
   * and MLP are 10/12 of the block's multiplications.
   */
  at::Tensor first_token(const at::Tensor& x) const;

  /** Where a token sees those up to itself alone: x fp32 [n, tokens, width] -> the same shape. */
  at::Tensor causal(const at::Tensor& x) const;

  /** Of that one row a sample, at positions int64 [n]: fp32 [n, 1, width]. */
  at::Tensor causal_row(const at::Tensor& x, const at::Tensor& positions) const;

 private:
  at::Tensor feed_forward(const at::Tensor& x) const;

  at::ScalarType compute_;
  LayerNorm norm1_;
  Attention attention_;
  at::Tensor scale1_;
  LayerNorm norm2_;
  Mlp mlp_;
  at::Tensor scale2_;
};

}  // namespace kuea
