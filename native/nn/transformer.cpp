#include "nn/transformer.h"

#include "ops/checkpoint.h"

namespace kuea {

at::Tensor Transformer::operator()(at::Tensor x) const {
  for (const auto& block : blocks_) x = block(x);
  return x;
}

at::Tensor Transformer::first_token(at::Tensor x, bool checkpointing) const {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto& block = blocks_[i];
    const bool last = i + 1 == blocks_.size();
    const auto run = [&block, last](const at::Tensor& input) { return last ? block.first_token(input) : block(input); };
    x = checkpointing ? checkpoint(run, x) : run(x);
  }
  return x.select(1, 0);
}

at::Tensor Transformer::causal_row(at::Tensor x, const at::Tensor& positions) const {
  for (size_t i = 0; i + 1 < blocks_.size(); ++i) x = blocks_[i].causal(x);
  return blocks_.back().causal_row(x, positions).select(1, 0);
}

}  // namespace kuea
