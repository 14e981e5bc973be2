#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sqrt.h>

#include "ops/alignment/alignment.h"

namespace kuea {
namespace {

at::Tensor normalised(const at::Tensor& k) {
  const auto d = k.diagonal();
  return k / at::sqrt(d.unsqueeze(1) * d.unsqueeze(0));
}

at::Tensor gaussian(const at::Tensor& s, const at::Tensor& sigma) {
  const auto d = s.diagonal();
  return (-(d.unsqueeze(1) + d.unsqueeze(0) - 2 * s) / (2 * sigma * sigma)).exp();
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

}  // namespace kuea
