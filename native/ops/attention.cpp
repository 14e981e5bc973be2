#include "ops/attention.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/le.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/csrc/autograd/custom_function.h>

namespace kuea {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

struct CpuAttention : torch::autograd::Function<CpuAttention> {
  static Variable forward(AutogradContext* ctx, const Variable& q, const Variable& k, const Variable& v) {
    const auto [out, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v);
    ctx->save_for_backward({q, k, v, out, logsumexp});
    return out;
  }

  // With P = softmax(S), S = scale q k^T: dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &logsumexp = saved[4];
    const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
    const auto like = [](const at::Tensor& x) {
      // Heads beside each other, as the fused qkv's gradient wants them.
      return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
    };
    auto dq = like(q), dk = like(k), dv = like(v);
    for (int64_t i = 0; i < q.size(0); ++i) {
      const auto qi = q[i].contiguous(), ki = k[i].contiguous(), vi = v[i].contiguous(), gi = grads[0][i].contiguous();
      // In fp32: rounding S to bf16 would make P here differ from the forward's by percents.
      const auto p = at::matmul(qi.to(at::kFloat), ki.to(at::kFloat).transpose(1, 2)).mul_(scale).sub_(logsumexp[i].unsqueeze(2)).exp_();
      const auto delta = (gi * out[i]).to(at::kFloat).sum(2, true);
      dv[i].copy_(at::matmul(p.to(gi.scalar_type()).transpose(1, 2), gi));
      const auto ds = at::matmul(gi, vi.transpose(1, 2)).to(at::kFloat).sub_(delta).mul_(p).mul_(scale).to(gi.scalar_type());
      dq[i].copy_(at::matmul(ds, ki));
      dk[i].copy_(at::matmul(ds.transpose(1, 2), qi));
    }
    return {dq, dk, dv};
  }
};

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return q.is_cpu() ? CpuAttention::apply(q, k, v) : at::scaled_dot_product_attention(q, k, v);
}

at::Tensor prefix_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return at::scaled_dot_product_attention(q, k, v, {}, 0.0, true);
}

at::Tensor prefix_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& last) {
  const auto seen = at::arange(k.size(2), last.options()).le(last.view({-1, 1, 1, 1}));
  return at::scaled_dot_product_attention(q, k, v, seen);
}

}  // namespace kuea
