#pragma once

#include <ATen/core/Tensor.h>

#include "nn/flat_parameters.h"

namespace kuea {

/**
 * LLaVA's mlp2x_gelu: Linear, GELU (erf), Linear, under `model.mm_projector.{0,2}`. Its backward is written out, as the language model's
 * is.
 */
class Projector {
 public:
  /** Weights first, then biases, which are not decayed. */
  Projector(FlatParameters& parameters, int64_t in, int64_t width);

  /** features [rows, in] -> [rows, width]; `hidden` [rows, width], before the GELU, is for the backward. */
  at::Tensor forward(const at::Tensor& features, at::Tensor* hidden) const;

  /** Adds to the parameters' gradients. */
  void backward(const at::Tensor& g, const at::Tensor& features, const at::Tensor& hidden) const;

 private:
  const FlatParameter &weight0_, &weight2_, &bias0_, &bias2_;
};

}  // namespace kuea
