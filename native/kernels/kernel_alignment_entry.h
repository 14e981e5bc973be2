#pragma once

#include <cmath>

#include "kernels/kernel_alignment.h"

// Functions that nvcc compiles for the GPU are plain C++ for every other compiler.
#ifdef __CUDACC__
#define KUEA_DEVICE __device__
#define KUEA_HOST_DEVICE __host__ __device__
#else
#define KUEA_DEVICE
#define KUEA_HOST_DEVICE
#endif

namespace kuea::kernels {

/** What all entries of the two kernel matrices share. `scale` is that of g: 6 / n^2, 2 / n^2 or 2 / (n sigma)^2. */
struct EntryScalars {
  float gamma, c, gamma_teacher;
  float exponent, exponent_teacher;  // -1 / (2 sigma^2)
  float scale;
};

/** One entry's part of L n^2, of the row's sum of g_ij x_j, of u_i, and of dL/dsigma. */
struct Entry {
  float loss, g, u, distance;
};

// s = x_i.x_j and t = y_i.y_j; b joins what is known of the two rows: b_i b_j, for gaussian |x_i|^2 + |x_j|^2. The diagonal is 1 on both
// sides, and rounding must not make it a difference.

KUEA_HOST_DEVICE inline Entry polynomial_entry(const EntryScalars& p, float s, float t, float b, float b_teacher, bool diagonal) {
  const float r = (p.gamma * s + p.c) * b;
  const float rt = (p.gamma_teacher * t + 1) * b_teacher;
  const float e = diagonal ? 0.0f : r * r * r - rt * rt * rt;
  const float h = p.scale * e * r * r;
  return {e * e, h * b, h * r, 0};
}

KUEA_HOST_DEVICE inline Entry cosine_entry(const EntryScalars& p, float s, float t, float b, float b_teacher, bool diagonal) {
  const float r = s * b;
  const float e = diagonal ? 0.0f : r - t * b_teacher;
  const float h = p.scale * e;
  return {e * e, h * b, h * r, 0};
}

KUEA_HOST_DEVICE inline Entry gaussian_entry(const EntryScalars& p, float s, float t, float b, float b_teacher, bool diagonal) {
  // Not max(), which may lose a NaN.
  const float d2 = b - 2 * s < 0 ? 0.0f : b - 2 * s;
  const float d2_teacher = b_teacher - 2 * t < 0 ? 0.0f : b_teacher - 2 * t;
  const float k = std::exp(p.exponent * d2);
  const float e = diagonal ? 0.0f : k - std::exp(p.exponent_teacher * d2_teacher);
  const float g = p.scale * e * k;
  return {e * e, g, g, g * d2};
}

}  // namespace kuea::kernels
