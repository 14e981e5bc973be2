#include "ops/causal_attention.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

namespace kuea {
namespace {

// Queries whose scores exist at once.
constexpr int64_t block_rows = 256;

/** Rows [first, first + length) of x [tokens, heads * d] as [heads, length, d]. */
at::Tensor by_head(const at::Tensor& x, int64_t heads, int64_t first, int64_t length) {
  return x.narrow(0, first, length).view({length, heads, x.size(1) / heads}).transpose(0, 1);
}

/** Calls f(first, length) for each sample. */
template <class F>
void each_sample(const std::vector<int64_t>& lengths, F f) {
  int64_t first = 0;
  for (const auto length : lengths) {
    if (length > 0) f(first, length);
    first += length;
  }
}

/**
 * One sample on the CPU; all operands [heads, length, d]. libtorch's flash backward works in tiles too small for bf16 matrix products. This one goes over
 * blocks of queries: with P = softmax(S), S = scale q k^T: dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q.
 */
void backward_on_cpu(const at::Tensor& g, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out, const at::Tensor& logsumexp,
                     at::Tensor dq, at::Tensor dk, at::Tensor dv) {
  const auto heads = q.size(0), length = q.size(1), dim = q.size(2);
  const auto dtype = q.scalar_type();
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const auto delta = (g * out).sum(2, true, at::kFloat);
  // In fp32: rounding S to bf16 would make P here differ from the forward's by percents.
  const auto q32 = q.to(at::kFloat) * scale, k32 = k.to(at::kFloat);
  const auto sums = at::TensorOptions().dtype(at::kFloat);
  auto dk32 = at::zeros({heads, length, dim}, sums), dv32 = at::zeros({heads, length, dim}, sums);
  for (int64_t first = 0; first < length; first += block_rows) {
    const auto rows = std::min(block_rows, length - first), keys = first + rows;
    const auto block = [&](const at::Tensor& x) { return x.narrow(1, first, rows); };
    const auto seen = [&](const at::Tensor& x) { return x.narrow(1, 0, keys); };
    auto p = at::bmm(block(q32), seen(k32).transpose(1, 2)).sub_(logsumexp.narrow(1, first, rows).unsqueeze(2));
    p.exp_();
    p.tril_(first);
    seen(dv32).add_(at::bmm(p.to(dtype).transpose(1, 2), block(g)));
    const auto ds = at::bmm(block(g), seen(v).transpose(1, 2)).to(at::kFloat).sub_(block(delta)).mul_(p).mul_(scale).to(dtype);
    block(dq).copy_(at::bmm(ds, seen(k)));
    seen(dk32).add_(at::bmm(ds.transpose(1, 2), block(q)));
  }
  dk.copy_(dk32);
  dv.copy_(dv32);
}

}  // namespace

CausalAttention causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads, const std::vector<int64_t>& lengths) {
  CausalAttention result{at::empty_like(q), {}};
  each_sample(lengths, [&](int64_t first, int64_t length) {
    const auto part = [&](const at::Tensor& x) { return by_head(x, heads, first, length).unsqueeze(0); };
    at::Tensor out;
    if (q.is_cpu()) {
      at::Tensor logsumexp;
      std::tie(out, logsumexp) = at::_scaled_dot_product_flash_attention_for_cpu(part(q), part(k), part(v), 0.0, true);
      result.logsumexp.push_back(logsumexp);
    } else {
      out = at::scaled_dot_product_attention(part(q), part(k), part(v), {}, 0.0, true);
    }
    part(result.out).copy_(out);
  });
  return result;
}

std::array<at::Tensor, 3> causal_attention_backward(const at::Tensor& g, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                                                    const std::vector<int64_t>& lengths, const CausalAttention& forward) {
  std::array<at::Tensor, 3> grads{at::empty_like(q), at::empty_like(k), at::empty_like(v)};
  size_t sample = 0;
  each_sample(lengths, [&](int64_t first, int64_t length) {
    const auto part = [&](const at::Tensor& x) { return by_head(x, heads, first, length); };
    if (q.is_cpu()) {
      const auto whole = [&](const at::Tensor& x) { return part(x).contiguous(); };
      backward_on_cpu(whole(g), whole(q), whole(k), whole(v), part(forward.out), forward.logsumexp[sample++].squeeze(0), part(grads[0]), part(grads[1]), part(grads[2]));
      return;
    }
    // Elsewhere libtorch chooses the kernel, and its own backward goes with it.
    at::AutoGradMode with_grad(true);
    const auto leaf = [&](const at::Tensor& x) { return part(x).unsqueeze(0).detach().requires_grad_(); };
    const auto lq = leaf(q), lk = leaf(k), lv = leaf(v);
    const auto out = at::scaled_dot_product_attention(lq, lk, lv, {}, 0.0, true);
    const auto found = torch::autograd::grad({out}, {lq, lk, lv}, {part(g).unsqueeze(0)});
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < 3; ++i) part(grads[i]).copy_(found[i].squeeze(0));
  });
  return grads;
}

}  // namespace kuea
