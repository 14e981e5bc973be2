#include "ops/causal_attention.h"

#include <algorithm>
#include <cmath>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/causal_softmax.h"
#include "ops/kernel_dispatch.h"

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

/** While it lives, products of fp32 matrices that hold bf16 numbers run on bf16 units: exact operands, sums and results in fp32. */
class Bf16Operands {
 public:
  explicit Bf16Operands(bool yes) : before_(at::globalContext().float32Precision(backend, op)) {
    if (yes) at::globalContext().setFloat32Precision(backend, op, at::Float32Precision::BF16);
  }
  ~Bf16Operands() { at::globalContext().setFloat32Precision(backend, op, before_); }
  Bf16Operands(const Bf16Operands&) = delete;
  Bf16Operands& operator=(const Bf16Operands&) = delete;

 private:
  static constexpr auto backend = at::Float32Backend::MKLDNN;
  static constexpr auto op = at::Float32Op::MATMUL;
  at::Float32Precision before_;
};

/** Scores q k^T of a block of queries, [heads, rows, keys] in fp32: rounding them to bf16 would make probabilities differ by percents. */
at::Tensor scores(const at::Tensor& q32, const at::Tensor& k32, bool bf16) {
  const Bf16Operands exact(bf16);
  return at::bmm(q32, k32.transpose(1, 2));
}

/**
 * Calls f(first number, first row, rows, keys seen by the first) for ranges of s [heads, rows, keys] of a block whose first row sees `seen`
 * keys.
 */
template <class F>
void each_range(const at::Tensor& s, int64_t seen, F f) {
  const auto rows = s.size(1), keys = s.size(2);
  at::parallel_for(0, s.size(0) * rows, row_grain(keys), [&](int64_t begin, int64_t end) {
    // A range may span heads, and each head's rows see from `seen` on.
    for (int64_t count; begin < end; begin += count) {
      const auto row = begin % rows;
      count = std::min(end - begin, rows - row);
      f(begin * keys, begin, count, seen + row);
    }
  });
}

/** Calls f(first, rows, keys) for each block of the queries of a sample. */
template <class F>
void each_block(int64_t length, F f) {
  for (int64_t first = 0; first < length; first += block_rows) {
    const auto rows = std::min(block_rows, length - first);
    f(first, rows, first + rows);
  }
}

/**
 * One sample on the CPU; all operands [heads, length, d]. libtorch's flash attention works in tiles too small for bf16 matrix products, and
 * its products of bf16 to fp32 run as fp32 ones on some processors. This one goes over blocks of queries. Returns the logsumexp, fp32
 * [heads, length].
 */
at::Tensor forward_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, at::Tensor out) {
  const auto heads = q.size(0), length = q.size(1);
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(q.size(2))));
  const auto q32 = q.to(at::kFloat), k32 = k.to(at::kFloat);
  auto logsumexp = at::empty({heads, length}, q32.options());
  each_block(length, [&](int64_t first, int64_t rows, int64_t keys) {
    const auto s = scores(q32.narrow(1, first, rows), k32.narrow(1, 0, keys), q.scalar_type() == at::kBFloat16);
    auto p = at::empty(s.sizes(), q.options()), sums = at::empty({heads, rows}, q32.options());
    dispatch(q, [&](auto zero) {
      using T = decltype(zero);
      each_range(s, first + 1, [&](int64_t number, int64_t row, int64_t count, int64_t seen) {
        kernels::causal_softmax(numbers<float>(s, number), numbers<T>(p, number), numbers<float>(sums, row), count, keys, seen, scale);
      });
    });
    logsumexp.narrow(1, first, rows).copy_(sums);
    out.narrow(1, first, rows).copy_(at::bmm(p, v.narrow(1, 0, keys)));
  });
  return logsumexp;
}

/** With P = softmax(S), S = scale q k^T: dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q. */
void backward_on_cpu(const at::Tensor& g, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                     const at::Tensor& logsumexp, at::Tensor dq, at::Tensor dk, at::Tensor dv) {
  const auto heads = q.size(0), length = q.size(1), dim = q.size(2);
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
  const auto delta = (g * out).sum(2, false, at::kFloat);
  const auto q32 = q.to(at::kFloat), k32 = k.to(at::kFloat);
  auto dk32 = at::zeros({heads, length, dim}, q32.options()), dv32 = at::zeros({heads, length, dim}, q32.options());
  each_block(length, [&](int64_t first, int64_t rows, int64_t keys) {
    const auto block = [&](const at::Tensor& x) { return x.narrow(1, first, rows); };
    const auto seen = [&](const at::Tensor& x) { return x.narrow(1, 0, keys); };
    const auto s = scores(block(q32), seen(k32), q.scalar_type() == at::kBFloat16);
    const auto dp = at::bmm(block(g), seen(v).transpose(1, 2));
    const auto sums = block(logsumexp).contiguous(), deltas = block(delta).contiguous();
    auto p = at::empty_like(dp), ds = at::empty_like(dp);
    dispatch(q, [&](auto zero) {
      using T = decltype(zero);
      each_range(s, first + 1, [&](int64_t number, int64_t row, int64_t count, int64_t first_sees) {
        kernels::causal_softmax_backward(numbers<float>(s, number), numbers<T>(dp, number), numbers<float>(sums, row),
                                         numbers<float>(deltas, row), numbers<T>(p, number), numbers<T>(ds, number), count, keys,
                                         first_sees, scale);
      });
    });
    seen(dv32).add_(at::bmm(p.transpose(1, 2), block(g)));
    block(dq).copy_(at::bmm(ds, seen(k)));
    seen(dk32).add_(at::bmm(ds.transpose(1, 2), block(q)));
  });
  dk.copy_(dk32);
  dv.copy_(dv32);
}

}  // namespace

CausalAttention causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                                 const std::vector<int64_t>& lengths) {
  CausalAttention result{at::empty_like(q), {}};
  each_sample(lengths, [&](int64_t first, int64_t length) {
    const auto part = [&](const at::Tensor& x) { return by_head(x, heads, first, length); };
    if (has_kernels(q)) {
      result.logsumexp.push_back(forward_on_cpu(part(q).contiguous(), part(k).contiguous(), part(v).contiguous(), part(result.out)));
    } else {
      const auto whole = [&](const at::Tensor& x) { return part(x).unsqueeze(0); };
      part(result.out).copy_(at::scaled_dot_product_attention(whole(q), whole(k), whole(v), {}, 0.0, true).squeeze(0));
    }
  });
  return result;
}

std::array<at::Tensor, 3> causal_attention_backward(const at::Tensor& g, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                    int64_t heads, const std::vector<int64_t>& lengths, const CausalAttention& forward) {
  std::array<at::Tensor, 3> grads{at::empty_like(q), at::empty_like(k), at::empty_like(v)};
  size_t sample = 0;
  each_sample(lengths, [&](int64_t first, int64_t length) {
    const auto part = [&](const at::Tensor& x) { return by_head(x, heads, first, length); };
    if (has_kernels(q)) {
      const auto whole = [&](const at::Tensor& x) { return part(x).contiguous(); };
      backward_on_cpu(whole(g), whole(q), whole(k), whole(v), part(forward.out), forward.logsumexp[sample++], part(grads[0]),
                      part(grads[1]), part(grads[2]));
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
