#pragma once

#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/ops/layer_norm.h>

#include "nn/parameters.h"

namespace kuea {

/** Layer normalisation over the last dimension, computed in fp32 whatever comes out: x fp32 [..., width] -> [..., width] in `out`. */
class LayerNorm {
 public:
  LayerNorm(Parameters& parameters, const std::string& name, int64_t width, double eps)
      : weight_(parameters.add(name + ".weight", {width})), bias_(parameters.add(name + ".bias", {width})), eps_(eps) {}

  at::Tensor operator()(const at::Tensor& x, at::ScalarType out = at::kFloat) const {
    return at::layer_norm(x, {weight_.size(0)}, weight_, bias_, eps_).to(out);
  }

 private:
  at::Tensor weight_;
  at::Tensor bias_;
  double eps_;
};

}  // namespace kuea
