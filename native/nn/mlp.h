#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "nn/linear.h"

namespace kuea {

enum class Activation { quick_gelu, gelu, swiglu };

/**
 * The feed-forward half of a block. quick_gelu: x sigmoid(1.702 x); gelu: exact (erf); swiglu: the first map yields two halves, and
 * silu(first) * second goes to the second map (DINOv2's w12, w3).
 */
class Mlp {
 public:
  Mlp(Parameters& parameters, const std::string& first, const std::string& second, int64_t width, int64_t hidden, Activation activation,
      at::ScalarType compute);

  /** x [..., width] -> [..., width]. */
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  Activation activation_;
  Linear first_;
  Linear second_;
};

}  // namespace kuea
