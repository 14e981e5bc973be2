#pragma once

#include "kernels/alignment/grid.h"

#ifdef __CUDACC__
#define KUEA_UNROLL _Pragma("unroll")
#define KUEA_UNROLL_8 _Pragma("unroll 8")
#else
#define KUEA_UNROLL
#define KUEA_UNROLL_8
#endif

// What one block of threads does, written once for the GPU and for its twin. A block program is a sequence of team.each(phase): every
// thread runs the phase, and none begins the next before all have ended this one. A thread keeps its State from phase to phase (registers),
// all share `shared`.
namespace kuea::kernels::grid {

/** Rows and columns of a tile of the two matrices, and how many elements of x or y are in shared memory at a time. */
constexpr int side = 64, depth = 32;
/** 16 x 16 threads, of which each has 4 x 4 entries of a tile. */
constexpr int across = 16, mine = 4, sweep_threads = across * across;
static_assert(across * mine == side);
constexpr int row_threads = 64, total_threads = 256;

struct alignas(16) Four {
  float v[mine];
};
using Product = float[mine][mine];

/**
 * Place of (k, i) in a tile of shared memory, [k, side]. Groups of four i stay together, to be read at once; their order changes with k so
 * that the 32 threads that write, or read, at a time meet 32 banks.
 */
KUEA_DEVICE inline int place(int k, int i) { return k * side + (i ^ (((k ^ (k >> 2)) & 7) << 2)); }

KUEA_DEVICE inline Four four(const float* tile, int k, int i) { return *reinterpret_cast<const Four*>(tile + place(k, i)); }

/** product[i][j] += sum_k a(k, 4 row + i) b(k, 4 column + j). */
template <int Depth>
KUEA_DEVICE inline void multiply(Product& product, const float* a, const float* b, int row, int column) {
  // Wholly unrolled, its addresses would not fit the registers.
  KUEA_UNROLL_8
  for (int k = 0; k < Depth; ++k) {
    const Four left = four(a, k, mine * row), right = four(b, k, mine * column);
    KUEA_UNROLL
    for (int i = 0; i < mine; ++i) {
      KUEA_UNROLL
      for (int j = 0; j < mine; ++j) product[i][j] += left.v[i] * right.v[j];
    }
  }
}

KUEA_DEVICE inline void clear(Product& product) {
  KUEA_UNROLL
  for (int i = 0; i < mine; ++i) {
    KUEA_UNROLL
    for (int j = 0; j < mine; ++j) product[i][j] = 0;
  }
}

/** Numbers of rows and columns fit an int; what lies before a row does not. */
KUEA_DEVICE inline int64_t offset(int64_t row, int64_t d) { return row * d; }

/**
 * Thread's part of copying matrix[first ... first + side)[k0 ... k0 + depth) into a tile [depth, side]; 0 from row `last` and column d on.
 */
KUEA_DEVICE inline void load_transposed(float* tile, const float* matrix, int d, int first, int last, int k0, int thread) {
  constexpr int loads = side * depth / sweep_threads, k_groups = depth / 8;
  const int lane = thread % 32, warp = thread / 32;
  KUEA_UNROLL
  for (int load = 0; load < loads; ++load) {
    // Eight neighbours of each of four rows: whole sectors of memory.
    const int i = 4 * (warp * (loads / k_groups) + load / k_groups) + lane % 4, k = 8 * (load % k_groups) + lane / 4;
    tile[place(k, i)] = first + i < last && k0 + k < d ? matrix[offset(first + i, d) + k0 + k] : 0.0f;
  }
}

/** Thread's part of copying matrix[first ... first + side)[k0 ... k0 + side) into a tile [side, side] as it stands. */
KUEA_DEVICE inline void load_straight(float* tile, const float* matrix, int d, int first, int last, int k0, int thread) {
  constexpr int step = sweep_threads / side;
  const int k = thread % side;
  KUEA_UNROLL
  for (int j = thread / side; j < side; j += step)
    tile[place(j, k)] = first + j < last && k0 + k < d ? matrix[offset(first + j, d) + k0 + k] : 0.0f;
}

/** The scalars of the entries, read where the sweep runs. */
KUEA_DEVICE inline EntryScalars scalars(const GridAlignment& a) {
  const auto n2 = static_cast<float>(static_cast<double>(a.n) * static_cast<double>(a.n));
  return entry_scalars(a.kind, n2, a.dt, *a.gamma, *a.c, *a.sigma, a.sigma_teacher);
}

struct PrepareShared {
  double student[row_threads], teacher[row_threads];
};
struct NoState {};

/** One block a row of all n: its norms. */
template <class Team>
KUEA_DEVICE void prepare_block(Team& team, PrepareShared& shared, const GridAlignment& a, const GridBuffers& b, int64_t row) {
  team.each([&](int thread, NoState&) {
    const auto square = [thread](const float* v, int64_t d) {
      double sum = 0;
      for (int64_t k = thread; k < d; k += row_threads) sum += static_cast<double>(v[k]) * v[k];
      return sum;
    };
    shared.student[thread] = square(a.x + row * a.d, a.d);
    shared.teacher[thread] = square(a.y + row * a.dt, a.dt);
  });
  team.each([&](int thread, NoState&) {
    if (thread != 0) return;
    double s = 0, t = 0;
    for (int i = 0; i < row_threads; ++i) {
      s += shared.student[i];
      t += shared.teacher[i];
    }
    const auto found = diagonal(a.kind, s, t, a.dt, *a.gamma, *a.c);
    b.student[row] = row_factor(a.kind, found.student);
    b.teacher[row] = row_factor(a.kind, found.teacher);
  });
}

struct SweepShared {
  alignas(16) float operands[2 * depth * side];
  alignas(16) float g[side * side];
  // Each thread's own sums: in registers they would leave too few for the products.
  double u[side][across];
  double loss[sweep_threads], g_sum[sweep_threads], distance[sweep_threads];
};
static_assert(2 * depth == side, "load_straight fills both operands");

struct SweepState {
  Product s, t;
};

/** Sums one thread's entries of the tile at (row, column); its products s become g. */
KUEA_DEVICE inline void entries(SweepState& state, SweepShared& shared, const GridAlignment& a, const GridBuffers& b, int thread, int row,
                                int column) {
  const auto scalars = grid::scalars(a);
  const int end = static_cast<int>(a.end), n = static_cast<int>(a.n);
  float loss = 0, g = 0, distance = 0;
  KUEA_UNROLL
  for (int i = 0; i < mine; ++i) {
    const float bi = row + i < end ? b.student[row + i] : 0.0f, bi_t = row + i < end ? b.teacher[row + i] : 0.0f;
    float u = 0;
    KUEA_UNROLL
    for (int j = 0; j < mine; ++j) {
      if (row + i >= end || column + j >= n) {
        state.s[i][j] = 0;
        continue;
      }
      const auto found = entry(a.kind, scalars, state.s[i][j], state.t[i][j], bi, b.student[column + j], bi_t, b.teacher[column + j],
                               row + i == column + j);
      state.s[i][j] = found.g;
      loss += found.loss;
      g += found.g;
      u += found.u;
      distance += found.distance;
    }
    shared.u[mine * (thread / across) + i][thread % across] += u;
  }
  shared.loss[thread] += loss;
  shared.g_sum[thread] += g;
  shared.distance[thread] += distance;
}

/** S = X_I X_J^T of one tile into `product`. */
template <class Team, class Select>
KUEA_DEVICE void multiply_rows(Team& team, SweepShared& shared, const float* matrix, int d, int row, int end, int column, int n,
                               Select product) {
  float* left = shared.operands;
  float* right = left + depth * side;
  for (int k = 0; k < d; k += depth) {
    team.each([&](int thread, SweepState&) {
      load_transposed(left, matrix, d, row, end, k, thread);
      load_transposed(right, matrix, d, column, n, k, thread);
    });
    team.each([&](int thread, SweepState& state) { multiply<depth>(product(state), left, right, thread / across, thread % across); });
  }
}

/** Rows [begin + side row_block, ...) against the columns of one split: both matrices a tile at a time, and with them sum_j g_ij x_j. */
template <class Team>
KUEA_DEVICE void sweep_block(Team& team, SweepShared& shared, const GridAlignment& a, const GridBuffers& b, const GridShape& shape,
                             int row_block, int split) {
  const int n = static_cast<int>(a.n), d = static_cast<int>(a.d), dt = static_cast<int>(a.dt), begin = static_cast<int>(a.begin),
            end = static_cast<int>(a.end);
  const int rows = end - begin, row = begin + row_block * side;
  const int width = static_cast<int>(shape.columns) * side, first = split * width, last = n - first < width ? n : first + width;
  team.each([&](int thread, SweepState&) {
    for (int i = 0; i < mine; ++i) shared.u[mine * (thread / across) + i][thread % across] = 0;
    shared.loss[thread] = shared.g_sum[thread] = shared.distance[thread] = 0;
  });

  for (int column = first; column < last; column += side) {
    team.each([&](int, SweepState& state) {
      clear(state.s);
      clear(state.t);
    });
    multiply_rows(team, shared, a.x, d, row, end, column, n, [](SweepState& state) -> Product& { return state.s; });
    multiply_rows(team, shared, a.y, dt, row, end, column, n, [](SweepState& state) -> Product& { return state.t; });
    team.each([&](int thread, SweepState& state) {
      const int ti = thread / across, tj = thread % across;
      entries(state, shared, a, b, thread, row + mine * ti, column + mine * tj);
      if (!a.gradient) return;
      KUEA_UNROLL
      for (int j = 0; j < mine; ++j) {
        *reinterpret_cast<Four*>(shared.g +
                                 place(mine * tj + j, mine * ti)) = {{state.s[0][j], state.s[1][j], state.s[2][j], state.s[3][j]}};
      }
    });
    if (!a.gradient) continue;
    for (int k = 0; k < d; k += side) {
      team.each([&](int thread, SweepState&) { load_straight(shared.operands, a.x, d, column, n, k, thread); });
      team.each([&](int thread, SweepState& state) {
        const int ti = thread / across, tk = thread % across;
        clear(state.s);
        multiply<side>(state.s, shared.g, shared.operands, ti, tk);
        KUEA_UNROLL
        for (int i = 0; i < mine; ++i) {
          const int r = row + mine * ti + i - begin;
          float* target = b.partial + offset(shape.rows * split + r, d);
          KUEA_UNROLL
          for (int j = 0; j < mine; ++j) {
            const int at = k + mine * tk + j;
            if (r < rows && at < d) target[at] = column == first ? state.s[i][j] : target[at] + state.s[i][j];
          }
        }
      });
    }
  }

  team.each([&](int thread, SweepState&) {
    const int r = row + thread - begin;
    if (thread < side && a.gradient && r < rows) {
      double sum = 0;
      for (int i = 0; i < across; ++i) sum += shared.u[thread][i];
      b.u[split * shape.rows + r] = sum;
    }
    // Three threads of another warp.
    const int which = thread - side;
    if (which < 0 || which > 2) return;
    const double* parts = which == 0 ? shared.loss : which == 1 ? shared.g_sum : shared.distance;
    double sum = 0;
    for (int i = 0; i < sweep_threads; ++i) sum += parts[i];
    b.sums[(shape.splits * row_block + split) * 3 + which] = sum;
  });
}

/** One block a row of the range: its gradient and q_i from the parts of the splits. */
template <class Team>
KUEA_DEVICE void finish_block(Team& team, const GridAlignment& a, const GridBuffers& b, const GridShape& shape, int64_t r) {
  team.each([&](int thread, NoState&) {
    double q = 0;
    for (int64_t split = 0; split < shape.splits; ++split) q += b.u[split * shape.rows + r];
    q = q_of(a.kind, q, b.student[a.begin + r]);
    if (thread == 0) b.q[r] = q;
    const auto qf = static_cast<float>(q);
    const float outer = outer_scale(a.kind, *a.gamma);
    const float* x = a.x + (a.begin + r) * a.d;
    for (int64_t k = thread; k < a.d; k += row_threads) {
      float sum = 0;
      for (int64_t split = 0; split < shape.splits; ++split) sum += b.partial[(split * shape.rows + r) * a.d + k];
      b.dx[r * a.d + k] = outer * (sum - qf * x[k]);
    }
  });
}

struct TotalShared {
  double sums[4][total_threads];
};

/** One block in all: the loss and the derivatives by the kernel's parameters. */
template <class Team>
KUEA_DEVICE void total_block(Team& team, TotalShared& shared, const GridAlignment& a, const GridBuffers& b, const GridShape& shape) {
  team.each([&](int thread, NoState&) {
    for (int i = 0; i < 3; ++i) {
      double sum = 0;
      for (int64_t k = thread; k < shape.row_blocks * shape.splits; k += total_threads) sum += b.sums[k * 3 + i];
      shared.sums[i][thread] = sum;
    }
    double q = 0;
    for (int64_t k = thread; a.gradient && k < shape.rows; k += total_threads) q += b.q[k];
    shared.sums[3][thread] = q;
  });
  team.each([&](int thread, NoState&) {
    if (thread != 0) return;
    double loss = 0, g = 0, distance = 0, q = 0;
    for (int i = 0; i < total_threads; ++i) {
      loss += shared.sums[0][i];
      g += shared.sums[1][i];
      distance += shared.sums[2][i];
      q += shared.sums[3][i];
    }
    KernelDerivatives d{};
    if (a.gradient) d = kernel_derivatives(a.kind, g - q, distance, *a.gamma, *a.c, *a.sigma);
    b.values[0] = static_cast<float>(loss / (static_cast<double>(a.n) * static_cast<double>(a.n)));
    b.values[1] = static_cast<float>(d.dgamma);
    b.values[2] = static_cast<float>(d.dc);
    b.values[3] = static_cast<float>(d.dsigma);
  });
}

}  // namespace kuea::kernels::grid
