#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "nn/flat_parameters.h"
#include "nn/frozen_matrix.h"
#include "ops/dropout.h"

namespace kuea {

/** Adds left right, times `scale`, to an fp32 gradient. */
void accumulate_product(at::Tensor grad, const at::Tensor& left, const at::Tensor& right, double scale = 1);

/**
 * y = x W^T + scale (dropout(x) A^T) B^T with W frozen and, where there is an adapter, A [rank, in] and B [out, rank] trained (Hu et al.
 * 2022). Its backward is written out: W takes part in the gradient for x alone, so nothing is kept for W, and for A and B only x, which the
 * caller has anyway, and the narrow product h = dropout(x) A^T.
 */
class LoraLinear {
 public:
  /** `module` numbers the map for dropout. Without an adapter a and b are null. */
  LoraLinear(FrozenMatrix weight, const FlatParameter* a, const FlatParameter* b, double scale, uint32_t module)
      : weight_(std::move(weight)), a_(a), b_(b), scale_(scale), module_(module) {}

  /** x [tokens, in] -> [tokens, out]; h [tokens, rank] is for the backward. */
  at::Tensor forward(const at::Tensor& x, const Dropout& mask, at::Tensor* h = nullptr) const;

  /** Adds to the gradients of A and B, and to dx (which is made when undefined) unless it is null. */
  void backward(const at::Tensor& g, const at::Tensor& x, const at::Tensor& h, const Dropout& mask, at::Tensor* dx) const;

 private:
  FrozenMatrix weight_;
  const FlatParameter *a_, *b_;
  double scale_;
  uint32_t module_;
};

}  // namespace kuea
