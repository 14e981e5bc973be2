#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/clones.h"

// The formulas of kernel alignment: one entry of the two kernel matrices, what its rows are scaled with, and what the sums over all entries
// are the derivatives of. Written once, for the tiles of a CPU (tile.h) and for the blocks of a GPU (grid.h).

// Functions that nvcc compiles for the GPU are plain C++ for every other compiler.
#ifdef __CUDACC__
#define KUEA_DEVICE __device__
#define KUEA_HOST_DEVICE __host__ __device__
#else
#define KUEA_DEVICE
#define KUEA_HOST_DEVICE
#endif

namespace kuea {

enum class KernelKind { polynomial, gaussian, cosine };

}  // namespace kuea

namespace kuea::kernels {

/**
 * L = mean_ij (K_ij - T_ij)^2, K the kernel of X, T that of Y. With s = x_i.x_j:
 *
 *   polynomial  K = r^3, r = (gamma s + c) b_i b_j, b_i = (gamma s_ii + c)^(-1/2); the teacher has gamma = 1/dt, c = 1
 *   cosine      K = r = s b_i b_j, b_i = 1/|x_i|
 *   gaussian    K = exp(-|x_i - x_j|^2 / (2 sigma^2)); the teacher has sigma_teacher
 *
 * Every gradient has the form dX_i = 2 gamma' (sum_j g_ij x_j - q_i x_i) with a symmetric g, gamma' = gamma for polynomial and else 1.
 *
 * This is what all entries share. `scale` is that of g: 6 / n^2, 2 / n^2 or 2 / (n sigma)^2.
 */
struct EntryScalars {
  float gamma, c, gamma_teacher;
  float exponent, exponent_teacher;  // -1 / (2 sigma^2)
  float scale;
};

/** The scalars, computed in Real: double on a CPU; float on a GPU, where every block computes them. `n2`: n^2. */
template <class Real>
KUEA_HOST_DEVICE inline EntryScalars entry_scalars(KernelKind kind, Real n2, int64_t dt, float gamma, float c, float sigma,
                                                   float sigma_teacher) {
  const Real scale = kind == KernelKind::polynomial ? 6 / n2 : kind == KernelKind::cosine ? 2 / n2 : 2 / (n2 * sigma * sigma);
  return {gamma,
          c,
          static_cast<float>(1 / static_cast<Real>(dt)),
          -0.5f / (sigma * sigma),
          -0.5f / (sigma_teacher * sigma_teacher),
          static_cast<float>(scale)};
}

/** (gamma s_ii + c, 1/dt t_ii + 1) from squared norms: what the rows' b_i are the inverse roots of; for gaussian the squared norms. */
struct Diagonal {
  double student, teacher;
};

KUEA_HOST_DEVICE inline Diagonal diagonal(KernelKind kind, double square, double square_teacher, int64_t dt, float gamma, float c) {
  if (kind != KernelKind::polynomial) return {square, square_teacher};
  return {static_cast<double>(gamma) * square + c, square_teacher / static_cast<double>(dt) + 1};
}

/** b_i, or |x_i|^2 for gaussian. Not a number where the diagonal is negative, for then there is no such kernel. */
KUEA_HOST_DEVICE inline float row_factor(KernelKind kind, double diagonal) {
  return static_cast<float>(kind == KernelKind::gaussian ? diagonal : 1 / std::sqrt(diagonal));
}

/** One entry's part of L n^2, of the row's sum of g_ij x_j, of u_i, and of dL/dsigma. */
struct Entry {
  float loss, g, u, distance;
};

// s = x_i.x_j and t = y_i.y_j; b joins what is known of the two rows: b_i b_j, for gaussian |x_i|^2 + |x_j|^2. The diagonal is 1 on both
// sides, and rounding must not make it a difference. Inlined, so that each clone of a caller (clones.h) has them compiled for its machine.

KUEA_HOST_DEVICE KUEA_INLINE Entry polynomial_entry(const EntryScalars& p, float s, float t, float b, float b_teacher, bool diagonal) {
  const float r = (p.gamma * s + p.c) * b;
  const float rt = (p.gamma_teacher * t + 1) * b_teacher;
  const float e = diagonal ? 0.0f : r * r * r - rt * rt * rt;
  const float h = p.scale * e * r * r;
  return {e * e, h * b, h * r, 0};
}

KUEA_HOST_DEVICE KUEA_INLINE Entry cosine_entry(const EntryScalars& p, float s, float t, float b, float b_teacher, bool diagonal) {
  const float r = s * b;
  const float e = diagonal ? 0.0f : r - t * b_teacher;
  const float h = p.scale * e;
  return {e * e, h * b, h * r, 0};
}

KUEA_HOST_DEVICE KUEA_INLINE Entry gaussian_entry(const EntryScalars& p, float s, float t, float b, float b_teacher, bool diagonal) {
  // Not max(), which may lose a NaN.
  const float d2 = b - 2 * s < 0 ? 0.0f : b - 2 * s;
  const float d2_teacher = b_teacher - 2 * t < 0 ? 0.0f : b_teacher - 2 * t;
  const float k = std::exp(p.exponent * d2);
  const float e = diagonal ? 0.0f : k - std::exp(p.exponent_teacher * d2_teacher);
  const float g = p.scale * e * k;
  return {e * e, g, g, g * d2};
}

/** The entry of rows whose factors are bi and bj (row_factor), and bi_t and bj_t. */
KUEA_HOST_DEVICE KUEA_INLINE Entry entry(KernelKind kind, const EntryScalars& p, float s, float t, float bi, float bj, float bi_t,
                                         float bj_t, bool diagonal) {
  switch (kind) {
    case KernelKind::polynomial:
      return polynomial_entry(p, s, t, bi * bj, bi_t * bj_t, diagonal);
    case KernelKind::cosine:
      return cosine_entry(p, s, t, bi * bj, bi_t * bj_t, diagonal);
    case KernelKind::gaussian:
      return gaussian_entry(p, s, t, bi + bj, bi_t + bj_t, diagonal);
  }
  return {};
}

/** q_i of u_i, the sum of a row's u. */
KUEA_HOST_DEVICE inline double q_of(KernelKind kind, double u, float factor) {
  const double b = factor;
  return kind == KernelKind::gaussian ? u : b * b * u;
}

/** 2 gamma'. */
KUEA_HOST_DEVICE inline float outer_scale(KernelKind kind, float gamma) { return 2 * (kind == KernelKind::polynomial ? gamma : 1.0f); }

/** dL by the kernel's parameters; 0 where the kind has none of that name. */
struct KernelDerivatives {
  double dgamma, dc, dsigma;
};

/** From the sum of g_ij over all entries less that of q_i over all rows, and the sum of g_ij |x_i - x_j|^2. */
KUEA_HOST_DEVICE inline KernelDerivatives kernel_derivatives(KernelKind kind, double g_less_q, double distance, double gamma, double c,
                                                             double sigma) {
  if (kind == KernelKind::cosine) return {0, 0, 0};
  if (kind == KernelKind::gaussian) return {0, 0, distance / sigma};
  // The kernel depends on c / gamma alone.
  return {-c / gamma * g_less_q, g_less_q, 0};
}

}  // namespace kuea::kernels
