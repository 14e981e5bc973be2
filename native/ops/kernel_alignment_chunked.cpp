#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "ops/kernel_alignment_sweep.h"
#include "runtime/error.h"

namespace kuea {
namespace {

// Rows of the two matrices that exist at a time.
constexpr int64_t chunk = 1024;

}  // namespace

// The formulas of kernels/kernel_alignment.h, a block of rows at a time. Both matrices are symmetric, so the rows alone give the whole
// gradient.
AlignmentValue sweep_chunked(const Gathered& all, int64_t m, const at::Tensor& y, const AlignmentScalars& p, bool gradient) {
  const auto& x = all.x;
  const auto n = x.size(0);
  const double n2 = static_cast<double>(n) * static_cast<double>(n), dt = static_cast<double>(y.size(1));
  const bool polynomial = p.kind == KernelKind::polynomial, gaussian = p.kind == KernelKind::gaussian;
  const double gamma = polynomial ? p.gamma : 1, c = polynomial ? p.c : 0, gamma_t = polynomial ? 1 / dt : 1, c_t = polynomial ? 1 : 0;
  const auto squares = x.square().sum(1), squares_t = y.square().sum(1);
  const auto norm = squares * gamma + c, norm_t = squares_t * gamma_t + c_t;
  if (!gaussian && !((norm > 0).all().item<bool>() && (norm_t > 0).all().item<bool>())) {
    throw Error("bad_kernel",
                "gamma |x|^2 + c is not positive for an embedding: the normalised kernel does not exist there; raise coef0 or fix the "
                "kernel's parameters");
  }
  const auto b = norm.rsqrt(), b_t = norm_t.rsqrt();

  auto loss = at::zeros({}, x.options().dtype(at::kDouble)), g_sum = loss.clone(), distance = loss.clone();
  AlignmentValue value;
  if (gradient) value.dx = at::zeros({m, x.size(1)}, x.options());
  for (int64_t i = all.begin; i < all.begin + m; i += chunk) {
    const auto count = std::min(chunk, all.begin + m - i);
    const auto rows = [&](const at::Tensor& t) { return t.narrow(0, i, count); };
    const auto s = at::mm(rows(x), x.t()), t = at::mm(rows(y), y.t());
    at::Tensor e, g, u, d2;
    if (gaussian) {
      d2 = (rows(squares).unsqueeze(1) + squares.unsqueeze(0) - 2 * s).clamp_min(0);
      const auto d2_t = (rows(squares_t).unsqueeze(1) + squares_t.unsqueeze(0) - 2 * t).clamp_min(0);
      const auto k = (d2 * (-0.5 / (p.sigma * p.sigma))).exp();
      e = k - (d2_t * (-0.5 / (p.sigma_teacher * p.sigma_teacher))).exp();
      e.diagonal(i).zero_();
      g = e * k * (2 / (n2 * p.sigma * p.sigma));
      u = g.sum(1);
    } else {
      const auto bb = rows(b).unsqueeze(1) * b.unsqueeze(0);
      const auto r = (s * gamma + c) * bb, r_t = (t * gamma_t + c_t) * (rows(b_t).unsqueeze(1) * b_t.unsqueeze(0));
      e = polynomial ? r.pow(3) - r_t.pow(3) : r - r_t;
      e.diagonal(i).zero_();
      const auto h = polynomial ? e * r.square() * (6 / n2) : e * (2 / n2);
      g = h * bb;
      u = rows(b).square() * (h * r).sum(1);
    }
    loss += e.square().sum(at::kDouble);
    if (!gradient) continue;
    value.dx.narrow(0, i - all.begin, count).copy_((at::mm(g, x) - u.unsqueeze(1) * rows(x)) * (2 * gamma));
    if (gaussian) distance += (g * d2).sum(at::kDouble);
    if (polynomial) g_sum += g.sum(at::kDouble) - u.sum(at::kDouble);
  }
  value.loss = loss.item<double>() / n2;
  if (gradient && polynomial) {
    value.dc = g_sum.item<double>();
    value.dgamma = -p.c / p.gamma * value.dc;
  }
  if (gradient && gaussian) value.dsigma = distance.item<double>() / p.sigma;
  return value;
}

}  // namespace kuea
