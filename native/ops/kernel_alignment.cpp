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

using Sweep = AlignmentValue (*)(const Gathered& all, int64_t m, const at::Tensor& y, const AlignmentScalars& scalars, bool gradient);

/**
 * Value and gradients come from one sweep, in the forward; the backward scales them. `x` is there for its gradient, `all` for its values.
 */
struct Fused : torch::autograd::Function<Fused> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gamma, const Variable& c, const Variable& sigma,
                          const Gathered& all, const at::Tensor& y, KernelKind kind, double sigma_teacher, Sweep sweep) {
    const AlignmentScalars scalars{kind, gamma.item<double>(), c.item<double>(), sigma.item<double>(), sigma_teacher};
    const bool gradient = x.requires_grad() || gamma.requires_grad() || c.requires_grad() || sigma.requires_grad();
    const auto value = sweep(all, x.size(0), y, scalars, gradient);
    const auto scalar = [&](double v) { return at::full({}, v, x.options().requires_grad(false)); };
    if (gradient) ctx->save_for_backward({value.dx, scalar(value.dgamma), scalar(value.dc), scalar(value.dsigma)});
    return scalar(value.loss);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    variable_list out(9);
    const auto saved = ctx->get_saved_variables();
    for (size_t i = 0; i < saved.size(); ++i) {
      if (ctx->needs_input_grad(i)) out[i] = saved[i] * grads[0];
    }
    return out;
  }
};

at::Tensor fused(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all, Sweep sweep) {
  auto values = all.value_or(Gathered{x.detach(), 0, 0, 1, {}});
  values.x = values.x.contiguous();
  return Fused::apply(x, p.gamma, p.c, p.sigma, values, y.contiguous(), p.kind, p.sigma_teacher, sweep);
}

/**
 * The two rectangles [m, n] of one rank's rows. The columns are constant here, which leaves half of each row's gradient: it counts twice.
 */
at::Tensor plain_rows(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const Gathered& all) {
  const auto mine = 2 * x - x.detach(), mine_t = y.narrow(0, all.begin, x.size(0));
  const auto squares = [](const at::Tensor& t) { return t.square().sum(1); };
  const auto rectangle = [](const at::Tensor& s, const at::Tensor& row, const at::Tensor& column) {
    return s / at::sqrt(row.unsqueeze(1) * column.unsqueeze(0));
  };
  const auto distances = [](const at::Tensor& s, const at::Tensor& row, const at::Tensor& column) {
    return row.unsqueeze(1) + column.unsqueeze(0) - 2 * s;
  };
  const auto s = at::mm(mine, all.x.t()), t = at::mm(mine_t, y.t());
  const auto row = squares(mine), column = squares(all.x), row_t = squares(mine_t), column_t = squares(y);
  at::Tensor k, kt;
  if (p.kind == KernelKind::polynomial) {
    const auto cube = [&](const at::Tensor& v) { return (v * p.gamma + p.c).pow(3); };
    const auto cube_t = [&](const at::Tensor& v) { return (v / y.size(1) + 1).pow(3); };
    k = rectangle(cube(s), cube(row), cube(column));
    kt = rectangle(cube_t(t), cube_t(row_t), cube_t(column_t));
  } else if (p.kind == KernelKind::cosine) {
    k = rectangle(s, row, column);
    kt = rectangle(t, row_t, column_t);
  } else {
    k = (-distances(s, row, column) / (2 * p.sigma * p.sigma)).exp();
    kt = (-distances(t, row_t, column_t) / (2 * p.sigma_teacher * p.sigma_teacher)).exp();
  }
  return (k - kt).square().sum() / (all.x.size(0) * all.x.size(0));
}

}  // namespace

at::Tensor kernel_alignment_plain(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
  if (all) return plain_rows(x, y, p, *all);
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

at::Tensor kernel_alignment_tiled(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
  return fused(x, y, p, all, sweep_tiled);
}

at::Tensor kernel_alignment_chunked(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
  return fused(x, y, p, all, sweep_chunked);
}

at::Tensor kernel_alignment(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
  return x.is_cuda() ? kernel_alignment_cuda(x, y, p, all) : kernel_alignment_tiled(x, y, p, all);
}

}  // namespace kuea
