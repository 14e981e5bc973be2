#include "kernels/alignment/tile.h"

#include <algorithm>

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

double squared_norm(const float* v, int64_t d) {
  double sum = 0;
  for (int64_t k = 0; k < d; ++k) sum += static_cast<double>(v[k]) * v[k];
  return sum;
}

/** What one row of a tile needs: S and T in, g out in place of S. */
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

/** The row's sums. */
template <KernelKind kind>
KUEA_INLINE Entry row_of(const RowInput& in, const EntryScalars& scalars) {
  float loss = 0, g_sum = 0, u_sum = 0, distance = 0;
  float* __restrict s = in.s;
  const float* __restrict t = in.t;
  const float* __restrict bj = in.bj;
  const float* __restrict bj_t = in.bj_t;
  float* __restrict u_columns = in.u_columns;
  const float bi = in.bi, bi_t = in.bi_t;
  const EntryScalars p = scalars;
#pragma omp simd reduction(+ : loss, g_sum, u_sum, distance)
  for (int64_t j = 0; j < in.n; ++j) {
    const Entry found = entry(kind, p, s[j], t[j], bi, bj[j], bi_t, bj_t[j], j == in.diagonal);
    s[j] = found.g;
    loss += found.loss;
    if constexpr (kind == KernelKind::polynomial) g_sum += found.g;
    u_sum += found.u;
    if constexpr (kind == KernelKind::gaussian) distance += found.distance;
    u_columns[j] += found.u;
  }
  return {loss, g_sum, u_sum, distance};
}

KUEA_CLONES Entry polynomial_row(const RowInput& in, const EntryScalars& scalars) { return row_of<KernelKind::polynomial>(in, scalars); }
KUEA_CLONES Entry cosine_row(const RowInput& in, const EntryScalars& scalars) { return row_of<KernelKind::cosine>(in, scalars); }
// exp is a call, which no clone would make faster.
Entry gaussian_row(const RowInput& in, const EntryScalars& scalars) { return row_of<KernelKind::gaussian>(in, scalars); }

}  // namespace

int64_t scratch_bytes(int64_t tile) { return static_cast<int64_t>(sizeof(float)) * (2 * tile * tile + tile); }

bool prepare_rows(const Alignment& a, const AlignmentRows& rows, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const double s = squared_norm(a.x + i * a.d, a.d), t = squared_norm(a.y + i * a.dt, a.dt);
    const auto [student, teacher] = diagonal(a.kind, s, t, a.dt, a.gamma, a.c);
    // What is not a number passes, and makes the loss one that is not: that is another fault than a kernel's.
    if (a.kind != KernelKind::gaussian && (student <= 0 || teacher <= 0)) return false;
    rows.student[i] = row_factor(a.kind, student);
    rows.teacher[i] = row_factor(a.kind, teacher);
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
  const auto scalars = entry_scalars(a.kind, n2, a.dt, a.gamma, a.c, a.sigma, a.sigma_teacher);
  const auto row_sums = a.kind == KernelKind::polynomial ? polynomial_row : a.kind == KernelKind::cosine ? cosine_row : gaussian_row;
  TileSums sums;
  for (int64_t row = 0; row < ni; ++row) {
    const auto r = row_sums({s + row * nj, t + row * nj, rows.student + j, rows.teacher + j, u_columns, nj, mirrored ? -1 : row,
                             rows.student[i + row], rows.teacher[i + row]},
                            scalars);
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
  const float outer = outer_scale(a.kind, a.gamma);
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) {
    const double q = q_of(a.kind, rows.q[i], rows.student[i]);
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
