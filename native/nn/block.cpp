#include "nn/block.h"

#include <ATen/TensorOperators.h>

namespace kuea {
namespace {

at::Tensor scaled(const at::Tensor& branch, const at::Tensor& scale) { return scale.defined() ? branch * scale : branch; }

}  // namespace

Block::Block(Parameters& parameters, const BlockSpec& spec, at::ScalarType compute)
    : compute_(compute),
      norm1_(parameters, spec.norm1, spec.width, spec.eps),
      attention_(parameters, spec.attention, spec.width, spec.heads, compute),
      scale1_(spec.scale1.empty() ? at::Tensor() : parameters.add(spec.scale1, {spec.width})),
      norm2_(parameters, spec.norm2, spec.width, spec.eps),
      mlp_(parameters, spec.mlp_first, spec.mlp_second, spec.width, spec.hidden, spec.activation, compute),
      scale2_(spec.scale2.empty() ? at::Tensor() : parameters.add(spec.scale2, {spec.width})) {}

at::Tensor Block::feed_forward(const at::Tensor& x) const { return x + scaled(mlp_(norm2_(x, compute_)), scale2_); }

at::Tensor Block::operator()(const at::Tensor& x) const { return feed_forward(x + scaled(attention_(norm1_(x, compute_)), scale1_)); }

at::Tensor Block::first_token(const at::Tensor& x) const {
  return feed_forward(x.narrow(1, 0, 1) + scaled(attention_.first_token(norm1_(x, compute_)), scale1_));
}

}  // namespace kuea
