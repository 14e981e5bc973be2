#include "ops/kernel_alignment.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/kernel_alignment_sweep.h"
#include "runtime/error.h"

namespace kuea {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

at::Tensor normalised(const at::Tensor& k) {
  const auto d = k.diagonal();
  return k / at::sqrt(d.unsqueeze(1) * d.unsqueeze(0));
}

at::Tensor gaussian(const at::Tensor& s, const at::Tensor& sigma) {
  const auto d = s.diagonal();
  return (-(d.unsqueeze(1) + d.unsqueeze(0) - 2 * s) / (2 * sigma * sigma)).exp();
}

using Sweep = AlignmentValue (*)(const at::Tensor& x, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient);

/** Value and gradients come from one sweep, in the forward; the backward scales them. */
struct Fused : torch::autograd::Function<Fused> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gamma, const Variable& c, const Variable& sigma, const at::Tensor& y, KernelKind kind,
                          double sigma_teacher, Sweep sweep) {
    const AlignmentScalars scalars{kind, gamma.item<double>(), c.item<double>(), sigma.item<double>(), sigma_teacher};
    const bool gradient = x.requires_grad() || gamma.requires_grad() || c.requires_grad() || sigma.requires_grad();
    const auto value = sweep(x, y, scalars, gradient);
    const auto scalar = [&](double v) { return at::full({}, v, x.options().requires_grad(false)); };
    if (gradient) ctx->save_for_backward({value.dx, scalar(value.dgamma), scalar(value.dc), scalar(value.dsigma)});
    return scalar(value.loss);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    variable_list out(8);
    const auto saved = ctx->get_saved_variables();
    for (size_t i = 0; i < saved.size(); ++i) {
      if (ctx->needs_input_grad(i)) out[i] = saved[i] * grads[0];
    }
    return out;
  }
};

at::Tensor fused(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, Sweep sweep) {
  return Fused::apply(x.contiguous(), p.gamma, p.c, p.sigma, y.contiguous(), p.kind, p.sigma_teacher, sweep);
}

}  // namespace

at::Tensor kernel_alignment_plain(const at::Tensor& x, const at::Tensor& y, const KernelParams& p) {
  const auto s = at::mm(x, x.t()), t = at::mm(y, y.t());
  at::Tensor k, kt;
  if (p.kind == KernelKind::polynomial) {
    k = normalised((s * p.gamma + p.c).pow(3));
    kt = normalised((t / y.size(1) + 1).pow(3));
  } else if (p.kind == KernelKind::cosine) {
    k = normalised(s);
    kt = normalised(t);
  } else {
    k = gaussian(s, p.sigma);
    kt = gaussian(t, at::full({}, p.sigma_teacher, t.options()));
  }
  return (k - kt).square().mean();
}

at::Tensor kernel_alignment_tiled(const at::Tensor& x, const at::Tensor& y, const KernelParams& p) { return fused(x, y, p, sweep_tiled); }

at::Tensor kernel_alignment_chunked(const at::Tensor& x, const at::Tensor& y, const KernelParams& p) { return fused(x, y, p, sweep_chunked); }

at::Tensor kernel_alignment(const at::Tensor& x, const at::Tensor& y, const KernelParams& p) { return fused(x, y, p, x.is_cpu() ? sweep_tiled : sweep_chunked); }

}  // namespace kuea
