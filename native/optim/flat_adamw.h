#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "optim/adamw.h"

namespace kuea {

/**
 * AdamW over a flat buffer (nn/flat_parameters.h), through libtorch's fused kernel: its first `decayed` numbers with weight decay, the rest
 * without. Moments start at 0.
 */
class FlatAdamW {
 public:
  FlatAdamW(at::Tensor value, at::Tensor grad, AdamW::Options options, double weight_decay, int64_t decayed);

  /** One update with the gradient as it stands. */
  void step(double lr);

  void set_steps(int64_t steps) { steps_ = steps; }

  /** fp32 [numel]. */
  const at::Tensor& exp_avg() const { return exp_avg_; }
  const at::Tensor& exp_avg_sq() const { return exp_avg_sq_; }

 private:
  at::Tensor value_, grad_, exp_avg_, exp_avg_sq_;
  AdamW::Options options_;
  double weight_decay_;
  int64_t decayed_;
  int64_t steps_ = 0;
};

}  // namespace kuea
