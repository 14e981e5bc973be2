#include "nn/block.h"

#include <ATen/TensorOperators.h>

namespace kuea {
namespace {

/** The rows at positions int64 [n] of x [n, tokens, width]: [n, 1, width]. */
at::Tensor rows_at(const at::Tensor& x, const at::Tensor& positions) {
  return x.gather(1, positions.view({-1, 1, 1}).expand({x.size(0), 1, x.size(2)}));
}

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

at::Tensor Block::causal(const at::Tensor& x) const { return feed_forward(x + scaled(attention_.causal(norm1_(x, compute_)), scale1_)); }

at::Tensor Block::causal_row(const at::Tensor& x, const at::Tensor& positions) const {
  const auto normed = norm1_(x, compute_);
  const auto branch = attention_.causal_row(normed, rows_at(normed, positions), positions);
  return feed_forward(rows_at(x, positions) + scaled(branch, scale1_));
}

}  // namespace kuea
