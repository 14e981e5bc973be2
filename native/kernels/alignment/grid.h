#pragma once

#include <cstdint>

#include "kernels/alignment/entry.h"

namespace kuea::kernels {

/**
 * The sums of entry.h for a GPU: the rows [begin, end) of the two n x n matrices against all columns, cut into blocks of a grid.
 * The gradient by x_begin ... x_end is that of the whole matrices (they are symmetric); the loss and the derivatives by gamma, c and sigma
 * are these rows' parts, whose sum over all ranges is the whole.
 *
 * A block of rows alone writes its rows' results, and partial sums are added in their order, so a sweep has the same bits every time. All
 * pointers, those of gamma, c and sigma too, are of the memory that the sweep runs in: nothing is read back. Where a kernel does not exist
 * (gamma |x|^2 + c is not positive) the loss is not a number.
 */
struct GridAlignment {
  KernelKind kind;
  int64_t n, d, dt;
  int64_t begin, end;
  const float* x;  // [n, d]
  const float* y;  // [n, dt]
  const float *gamma, *c, *sigma;
  float sigma_teacher;
  bool gradient;
};

/** How the rows and columns are dealt to blocks: `row_blocks` times `splits` of them, each with `columns` tiles of columns. */
struct GridShape {
  int64_t rows, row_blocks, splits, columns;
};
GridShape grid_shape(int64_t n, int64_t begin, int64_t end);

/** Results and working memory. Without gradient partial, u, q and dx are null. Nothing needs to be zeroed. */
struct GridBuffers {
  float *student, *teacher;  // [n]: b_i, or |x_i|^2 for gaussian
  float* partial;            // [splits, rows, d]: sum_j g_ij x_j of each split
  double* u;                 // [splits, rows]
  double* q;                 // [rows]
  double* sums;              // [row_blocks, splits, 3]: of the loss, of g_ij, of g_ij |x_i - x_j|^2
  float* dx;                 // [rows, d]
  float* values;             // [4]: loss, dL/dgamma, dL/dc, dL/dsigma
};

#ifdef KUEA_CUDA
/** Queues the sweep on a cudaStream_t; returns a cudaError_t. */
int sweep_grid_cuda(const GridAlignment& a, const GridBuffers& buffers, void* stream);
#endif

}  // namespace kuea::kernels
