#include "nn/attention.h"

#include "ops/attention.h"

namespace kuea {

Attention::Attention(Parameters& parameters, const AttentionNames& names, int64_t width, int64_t heads, at::ScalarType compute)
    : width_(width),
      heads_(heads),
      qkv_(parameters, names.qkv_weight, names.qkv_bias, width, 3 * width, compute),
      proj_(parameters, names.proj + ".weight", names.proj + ".bias", width, width, compute) {}

std::vector<at::Tensor> Attention::split_heads(const at::Tensor& x, int64_t parts) const {
  // Unbinding (rather than selecting) makes the backward one stack into [n, tokens, parts, ...], which is x's own layout.
  auto heads = x.view({x.size(0), x.size(1), parts, heads_, width_ / heads_}).unbind(2);
  for (auto& head : heads) head = head.transpose(1, 2);
  return heads;
}

at::Tensor Attention::operator()(const at::Tensor& x) const {
  const auto qkv = split_heads(qkv_(x), 3);
  const auto y = attention(qkv[0], qkv[1], qkv[2]);
  return proj_(y.transpose(1, 2).reshape(x.sizes()));
}

at::Tensor Attention::first_token(const at::Tensor& x) const {
  const auto first = x.narrow(1, 0, 1);
  const auto q = split_heads(qkv_.rows(first, 0, width_), 1);
  const auto kv = split_heads(qkv_.rows(x, width_, 2 * width_), 2);
  const auto y = attention(q[0], kv[0], kv[1]);
  return proj_(y.transpose(1, 2).reshape(first.sizes()));
}

at::Tensor Attention::causal(const at::Tensor& x) const {
  const auto qkv = split_heads(qkv_(x), 3);
  const auto y = prefix_attention(qkv[0], qkv[1], qkv[2]);
  return proj_(y.transpose(1, 2).reshape(x.sizes()));
}

at::Tensor Attention::causal_row(const at::Tensor& x, const at::Tensor& token, const at::Tensor& positions) const {
  const auto q = split_heads(qkv_.rows(token, 0, width_), 1);
  const auto kv = split_heads(qkv_.rows(x, width_, 2 * width_), 2);
  const auto y = prefix_attention(q[0], kv[0], kv[1], positions);
  return proj_(y.transpose(1, 2).reshape(token.sizes()));
}

}  // namespace kuea
