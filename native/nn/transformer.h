#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/block.h"

namespace kuea {

/** A stack of blocks. */
class Transformer {
 public:
  void add(Parameters& parameters, const BlockSpec& spec, at::ScalarType compute) { blocks_.emplace_back(parameters, spec, compute); }

  /** x fp32 [n, tokens, width] -> the same shape. */
  at::Tensor operator()(at::Tensor x) const;

  /**
   * x fp32 [n, tokens, width] -> fp32 [n, width], the first token after the last block. With `checkpointing` a block keeps its input alone
   * and is computed again in the backward.
   */
  at::Tensor first_token(at::Tensor x, bool checkpointing) const;

  /**
   * Where a token sees those up to itself alone: x fp32 [n, tokens, width] -> fp32 [n, width], the token at positions int64 [n] after the
   * last block.
   */
  at::Tensor causal_row(at::Tensor x, const at::Tensor& positions) const;

 private:
  std::vector<Block> blocks_;
};

}  // namespace kuea
