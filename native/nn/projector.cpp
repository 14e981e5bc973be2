#include "nn/projector.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>

#include "nn/lora_linear.h"

namespace kuea {

Projector::Projector(FlatParameters& parameters, int64_t in, int64_t width)
    : weight0_(parameters.add("model.mm_projector.0.weight", {width, in})),
      weight2_(parameters.add("model.mm_projector.2.weight", {width, width})),
      bias0_(parameters.add("model.mm_projector.0.bias", {width})),
      bias2_(parameters.add("model.mm_projector.2.bias", {width})) {}

at::Tensor Projector::forward(const at::Tensor& features, at::Tensor* hidden) const {
  auto h = at::addmm(bias0_.compute, features, weight0_.compute.t());
  if (hidden != nullptr) *hidden = h;
  return at::addmm(bias2_.compute, at::gelu(h), weight2_.compute.t());
}

void Projector::backward(const at::Tensor& g, const at::Tensor& features, const at::Tensor& hidden) const {
  const auto add_sum = [](at::Tensor grad, const at::Tensor& rows) { grad.add_(at::sum(rows, {0}, false, at::kFloat)); };
  accumulate_product(weight2_.grad, g.t(), at::gelu(hidden));
  add_sum(bias2_.grad, g);
  const auto dh = at::gelu_backward(at::mm(g, weight2_.compute), hidden);
  accumulate_product(weight0_.grad, dh.t(), features);
  add_sum(bias0_.grad, dh);
}

}  // namespace kuea
