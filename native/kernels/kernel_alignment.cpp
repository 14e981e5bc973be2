#include "kernels/kernel_alignment.h"

#include <algorithm>
#include <cmath>

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

double squared_norm(const float* v, int64_t d) {
  double sum = 0;
  for (int64_t k = 0; k < d; ++k) sum += static_cast<double>(v[k]) * v[k];
  return sum;
}

/** What one row of a tile needs: S and T in, g out in place of S, and the row's own sums. */
struct RowSums {
  float loss, g, u, distance;
};

struct RowInput {
  float* s;         // [n]: x_i.x_j, becomes g_ij
  const float* t;   // [n]: y_i.y_j
  const float* bj;  // of the columns
  const float* bj_t;
  float* u_columns;  // [n]
  int64_t n;
  int64_t diagonal;  // column of the diagonal, or -1
  float bi, bi_t;
};

KUEA_CLONES RowSums polynomial_row(const RowInput& in, float gamma, float c, float gamma_t, float scale) {
  float loss = 0, g_sum = 0, u_sum = 0;
  float* __restrict s = in.s;
  const float* __restrict t = in.t;
  const float* __restrict bj = in.bj;
  const float* __restrict bj_t = in.bj_t;
  float* __restrict u_columns = in.u_columns;
  const float bi = in.bi, bi_t = in.bi_t;
  // The diagonal is 1 on both sides; rounding must not make it a difference.
  if (in.diagonal >= 0) s[in.diagonal] = (1 / (bi * bi) - c) / gamma;
#pragma omp simd reduction(+ : loss, g_sum, u_sum)
  for (int64_t j = 0; j < in.n; ++j) {
    const float bb = bi * bj[j];
    const float r = (gamma * s[j] + c) * bb;
    const float rt = (gamma_t * t[j] + 1) * (bi_t * bj_t[j]);
    const float e = j == in.diagonal ? 0.0f : r * r * r - rt * rt * rt;
    const float h = scale * e * r * r;
    const float g = h * bb;
    const float u = h * r;
    s[j] = g;
    loss += e * e;
    g_sum += g;
    u_sum += u;
    u_columns[j] += u;
  }
  return {loss, g_sum, u_sum, 0};
}

KUEA_CLONES RowSums cosine_row(const RowInput& in, float scale) {
  float loss = 0, u_sum = 0;
  float* __restrict s = in.s;
  const float* __restrict t = in.t;
  const float* __restrict bj = in.bj;
  const float* __restrict bj_t = in.bj_t;
  float* __restrict u_columns = in.u_columns;
  const float bi = in.bi, bi_t = in.bi_t;
#pragma omp simd reduction(+ : loss, u_sum)
  for (int64_t j = 0; j < in.n; ++j) {
    const float bb = bi * bj[j];
    const float r = s[j] * bb;
    const float e = j == in.diagonal ? 0.0f : r - t[j] * (bi_t * bj_t[j]);
    const float h = scale * e;
    const float u = h * r;
    s[j] = h * bb;
    loss += e * e;
    u_sum += u;
    u_columns[j] += u;
  }
  return {loss, 0, u_sum, 0};
}

RowSums gaussian_row(const RowInput& in, float sigma, float sigma_t, float scale) {
  RowSums sums{};
  const float a = -0.5f / (sigma * sigma), a_t = -0.5f / (sigma_t * sigma_t);
  for (int64_t j = 0; j < in.n; ++j) {
    if (j == in.diagonal) {
      in.s[j] = 0;
      continue;
    }
    const float d2 = std::max(in.bi + in.bj[j] - 2 * in.s[j], 0.0f);
    const float d2_t = std::max(in.bi_t + in.bj_t[j] - 2 * in.t[j], 0.0f);
    const float k = std::exp(a * d2);
    const float e = k - std::exp(a_t * d2_t);
    const float g = scale * e * k;
    in.s[j] = g;
    sums.loss += e * e;
    sums.u += g;
    sums.distance += g * d2;
    in.u_columns[j] += g;
  }
  return sums;
}

}  // namespace

int64_t scratch_bytes(int64_t tile) { return static_cast<int64_t>(sizeof(float)) * (2 * tile * tile + tile); }

bool prepare_rows(const Alignment& a, const AlignmentRows& rows, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const double s = squared_norm(a.x + i * a.d, a.d), t = squared_norm(a.y + i * a.dt, a.dt);
    if (a.kind == KernelKind::gaussian) {
      rows.student[i] = static_cast<float>(s);
      rows.teacher[i] = static_cast<float>(t);
      continue;
    }
    const bool polynomial = a.kind == KernelKind::polynomial;
    const double diagonal = polynomial ? static_cast<double>(a.gamma) * s + a.c : s;
    const double diagonal_t = polynomial ? t / static_cast<double>(a.dt) + 1 : t;
    if (!(diagonal > 0) || !(diagonal_t > 0)) return false;
    rows.student[i] = static_cast<float>(1 / std::sqrt(diagonal));
    rows.teacher[i] = static_cast<float>(1 / std::sqrt(diagonal_t));
  }
  return true;
}

TileSums sweep_tile(const Alignment& a, const AlignmentRows& rows, int64_t i, int64_t ni, int64_t j, int64_t nj, float* scratch) {
  float* s = scratch;
  float* t = s + ni * nj;
  float* u_columns = t + ni * nj;
  a.gemm(false, true, ni, nj, a.d, a.x + i * a.d, a.d, a.x + j * a.d, a.d, 0, s, nj);
  a.gemm(false, true, ni, nj, a.dt, a.y + i * a.dt, a.dt, a.y + j * a.dt, a.dt, 0, t, nj);
  std::fill_n(u_columns, nj, 0.0f);

  const double n2 = static_cast<double>(a.n) * static_cast<double>(a.n);
  const bool mirrored = i != j;
  const auto gamma_t = static_cast<float>(1 / static_cast<double>(a.dt));
  TileSums sums;
  for (int64_t row = 0; row < ni; ++row) {
    const RowInput in{s + row * nj, t + row * nj,        rows.student + j,      rows.teacher + j,     u_columns,
                      nj,           mirrored ? -1 : row, rows.student[i + row], rows.teacher[i + row]};
    RowSums r{};
    switch (a.kind) {
      case KernelKind::polynomial:
        r = polynomial_row(in, a.gamma, a.c, gamma_t, static_cast<float>(6 / n2));
        break;
      case KernelKind::cosine:
        r = cosine_row(in, static_cast<float>(2 / n2));
        break;
      case KernelKind::gaussian:
        r = gaussian_row(in, a.sigma, a.sigma_teacher, static_cast<float>(2 / (n2 * a.sigma * a.sigma)));
        break;
    }
    sums.loss += r.loss;
    sums.g += r.g;
    sums.distance += r.distance;
    if (a.gradient) rows.q[i + row] += r.u;
  }

  if (a.gradient) {
    a.gemm(false, false, ni, a.d, nj, s, nj, a.x + j * a.d, a.d, 1, rows.dx + i * a.d, a.d);
    if (mirrored) {
      a.gemm(true, false, nj, a.d, ni, s, nj, a.x + i * a.d, a.d, 1, rows.dx + j * a.d, a.d);
      for (int64_t column = 0; column < nj; ++column) rows.q[j + column] += u_columns[column];
    }
  }
  const double weight = mirrored ? 2 : 1;
  return {weight * sums.loss / n2, weight * sums.g, weight * sums.distance};
}

double finish_rows(const Alignment& a, const AlignmentRows& rows, int64_t begin, int64_t end) {
  const float outer = 2 * (a.kind == KernelKind::polynomial ? a.gamma : 1.0f);
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) {
    const double b = rows.student[i];
    const double q = a.kind == KernelKind::gaussian ? rows.q[i] : b * b * rows.q[i];
    rows.q[i] = q;
    sum += q;
    const auto qf = static_cast<float>(q);
    const float* x = a.x + i * a.d;
    float* dx = rows.dx + i * a.d;
    for (int64_t k = 0; k < a.d; ++k) dx[k] = outer * (dx[k] - qf * x[k]);
  }
  return sum;
}

}  // namespace kuea::kernels
