#include "nn/lora_linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

namespace kuea {

void accumulate_product(at::Tensor grad, const at::Tensor& left, const at::Tensor& right, double scale) {
  if (left.scalar_type() == at::kFloat)
    grad.addmm_(left, right, 1, scale);
  else
    grad.add_(at::mm(left, right), scale);
}

at::Tensor LoraLinear::forward(const at::Tensor& x, const Dropout& mask, at::Tensor* h) const {
  auto y = at::mm(x, weight_.dense(x.scalar_type()).t());
  if (a_ == nullptr) return y;
  const auto narrow = at::mm(dropout(x, mask, module_), a_->compute.t());
  y.addmm_(narrow, b_->compute.t(), 1, scale_);
  if (h != nullptr) *h = narrow;
  return y;
}

void LoraLinear::backward(const at::Tensor& g, const at::Tensor& x, const at::Tensor& h, const Dropout& mask, at::Tensor* dx) const {
  if (dx != nullptr) {
    const auto weight = weight_.dense(g.scalar_type());
    if (dx->defined())
      dx->addmm_(g, weight);
    else
      *dx = at::mm(g, weight);
  }
  if (a_ == nullptr) return;
  accumulate_product(b_->grad, g.t(), h, scale_);
  const auto dh = at::mm(g, b_->compute).mul_(scale_);
  accumulate_product(a_->grad, dh.t(), dropout(x, mask, module_));
  if (dx == nullptr) return;
  if (mask.probability == 0)
    dx->addmm_(dh, a_->compute);
  else
    dropout_add_(*dx, at::mm(dh, a_->compute), mask, module_);
}

}  // namespace kuea
