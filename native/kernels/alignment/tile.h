#pragma once

#include <cstdint>

#include "kernels/alignment/entry.h"

namespace kuea::kernels {

/** Row-major C [m, n] = A B + beta C, with A [m, k] (or its transpose, stored [k, m]) and B [k, n] (or stored [n, k]). Single-threaded. */
using Gemm = void (*)(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                      int64_t ldb, float beta, float* c, int64_t ldc);

/**
 * The loss of entry.h and its gradients, a tile of the two n x n matrices at a time; neither matrix ever exists. g is symmetric, so one
 * tile (I, J) serves rows I and rows J.
 */
struct Alignment {
  KernelKind kind;
  int64_t n, d, dt;
  const float* x;  // [n, d]
  const float* y;  // [n, dt]
  float gamma, c, sigma, sigma_teacher;
  bool gradient;
  Gemm gemm;
};

/** Arrays of one evaluation, each over the n rows. `dx` and `q` are null without gradient, else zero at the start. */
struct AlignmentRows {
  float* student;  // b_i, or |x_i|^2 for gaussian
  float* teacher;
  float* dx;  // [n, d]: first sum_j g_ij x_j, dX after finish_rows
  double* q;  // [n]: first u_i (see the sources), q_i after finish_rows
};

/** Sums of one tile, counted twice when it stands for its mirror image too. */
struct TileSums {
  double loss = 0;
  /** Sum of g_ij: the first part of dL/dc. */
  double g = 0;
  /** Sum of g_ij |x_i - x_j|^2, for dL/dsigma. */
  double distance = 0;
};

/** Bytes of scratch that sweep_tile needs for tiles of this side. */
int64_t scratch_bytes(int64_t tile);

/** Norms of rows [begin, end); false when gamma s_ii + c is not positive for one of them. */
bool prepare_rows(const Alignment& a, const AlignmentRows& rows, int64_t begin, int64_t end);

/** Tile of rows [i, i + ni) and columns [j, j + nj); i == j or the two ranges are disjoint. Updates dx and q of both ranges. */
TileSums sweep_tile(const Alignment& a, const AlignmentRows& rows, int64_t i, int64_t ni, int64_t j, int64_t nj, float* scratch);

/** After all tiles: dx and q of rows [begin, end) become the gradient and q_i; returns their sum of q_i (for dL/dc). */
double finish_rows(const Alignment& a, const AlignmentRows& rows, int64_t begin, int64_t end);

}  // namespace kuea::kernels
