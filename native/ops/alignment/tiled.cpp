#include "kernels/alignment/tile.h"

#include <atomic>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/alignment/alignment.h"
#include "runtime/error.h"

// The BLAS that libtorch is linked with; single-threaded inside a parallel region.
extern "C" void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k, const float* alpha, const float* a,
                       const int* lda, const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace kuea {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/** Row-major through a column-major BLAS: C^T = B^T A^T. */
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
          float beta, float* c, int64_t ldc) {
  const int mi = static_cast<int>(m), ni = static_cast<int>(n), ki = static_cast<int>(k), la = static_cast<int>(lda),
            lb = static_cast<int>(ldb), lc = static_cast<int>(ldc);
  const float one = 1;
  sgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &ni, &mi, &ki, &one, b, &lb, a, &la, &beta, c, &lc);
}

constexpr int64_t tile = 256;

/** Blocks of rows: block i begins at row i * tile. */
struct Pair {
  int64_t i, j;
};

using Rounds = std::vector<std::vector<Pair>>;

/**
 * Rounds of tile pairs in which no row block occurs twice, so that a round's pairs may update their blocks at the same time, without locks
 * or copies, and in the same order whatever the number of threads: the diagonal, then the circle method of a round-robin tournament.
 */
Rounds tournament(int64_t blocks) {
  Rounds rounds(1);
  for (int64_t i = 0; i < blocks; ++i) rounds[0].push_back({i, i});
  const int64_t players = blocks + blocks % 2;
  for (int64_t round = 0; round + 1 < players; ++round) {
    rounds.emplace_back();
    for (int64_t k = 0; k < players / 2; ++k) {
      const auto seat = [&](int64_t s) { return s == 0 ? 0 : 1 + (s - 1 + round) % (players - 1); };
      const auto a = seat(k), b = seat(players - 1 - k);
      // With an odd number of blocks one of them sits out.
      if (a < blocks && b < blocks) rounds.back().push_back({std::min(a, b), std::max(a, b)});
    }
  }
  return rounds;
}

/**
 * A rank's share of the rounds: a run of them, cut where the work before it is its share of the whole. So most of its rounds are whole
 * ones, and there is work for as many threads as one process has. Each pair is one rank's.
 */
Rounds share(int64_t rank, int64_t ranks, int64_t n, int64_t d, int64_t dt) {
  const auto rows = [&](int64_t block) { return std::min(tile, n - block * tile); };
  // Products with X and Y: one each for S and T, and one for dX of the rows and of the columns.
  const auto work = [&](const Pair& p) { return rows(p.i) * rows(p.j) * ((p.i == p.j ? 2 : 3) * d + dt); };
  const auto rounds = tournament((n + tile - 1) / tile);
  int64_t all = 0;
  for (const auto& round : rounds) {
    for (const auto& pair : round) all += work(pair);
  }
  Rounds mine;
  int64_t before = 0;
  for (const auto& round : rounds) {
    mine.emplace_back();
    for (const auto& pair : round) {
      // By the middle of the pair's work, so that each has a rank.
      if ((2 * before + work(pair)) * ranks / (2 * all) == rank) mine.back().push_back(pair);
      before += work(pair);
    }
  }
  return mine;
}

struct Scalars {
  KernelKind kind;
  double gamma, c, sigma, sigma_teacher;
};

/**
 * The loss, and where gradients were wanted, the derivatives by the kernel's parameters: this rank's summands of them. dX [m, d], of this
 * rank's rows, is exact.
 */
struct Value {
  double loss = 0;
  at::Tensor dx;
  kernels::KernelDerivatives d{};
};

/**
 * Tiles on all threads; CPU tensors. Of several ranks each sweeps its share of the tiles, whosever rows they are; the m rows' sums are then
 * added up.
 */
Value sweep(const Gathered& all, int64_t m, const at::Tensor& y, const Scalars& scalars, bool gradient) {
  const auto& x = all.x;
  const auto n = x.size(0), d = x.size(1);
  const auto options = x.options().requires_grad(false);
  const kernels::Alignment a{scalars.kind,
                             n,
                             d,
                             y.size(1),
                             x.const_data_ptr<float>(),
                             y.const_data_ptr<float>(),
                             static_cast<float>(scalars.gamma),
                             static_cast<float>(scalars.c),
                             static_cast<float>(scalars.sigma),
                             static_cast<float>(scalars.sigma_teacher),
                             gradient,
                             gemm};
  Value value;
  const auto norms = at::empty({2, n}, options);
  at::Tensor dx, q;
  if (gradient) {
    dx = at::zeros({n, d}, options);
    q = at::zeros({n}, options.dtype(at::kDouble));
  }
  const kernels::AlignmentRows rows{norms.mutable_data_ptr<float>(), norms.mutable_data_ptr<float>() + n,
                                    gradient ? dx.mutable_data_ptr<float>() : nullptr, gradient ? q.mutable_data_ptr<double>() : nullptr};

  std::atomic<bool> positive{true};
  at::parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
    if (!kernels::prepare_rows(a, rows, begin, end)) positive = false;
  });
  // Every rank has looked at all rows: none goes on to an exchange that another does not come to.
  if (!positive)
    throw Error("bad_kernel",
                "gamma |x|^2 + c is not positive for an embedding: the normalised kernel does not exist there; raise coef0 or fix the "
                "kernel's parameters");

  double g = 0, distance = 0;
  for (const auto& round : share(all.rank, all.ranks, n, d, y.size(1))) {
    std::vector<kernels::TileSums> sums(round.size());
    at::parallel_for(0, static_cast<int64_t>(round.size()), 1, [&](int64_t begin, int64_t end) {
      // An MKL call alone in the process would start threads; within a parallel region it does not.
      std::vector<float> scratch(static_cast<size_t>(kernels::scratch_bytes(tile)) / sizeof(float));
      for (auto k = begin; k < end; ++k) {
        const auto [i, j] = round[static_cast<size_t>(k)];
        sums[static_cast<size_t>(k)] =
            kernels::sweep_tile(a, rows, i * tile, std::min(tile, n - i * tile), j * tile, std::min(tile, n - j * tile), scratch.data());
      }
    });
    for (const auto& sum : sums) {
      value.loss += sum.loss;
      g += sum.g;
      distance += sum.distance;
    }
  }
  if (!gradient) return value;

  if (all.ranks > 1) {
    all.sum(dx);
    all.sum(q);
  }
  const auto parts = (m + tile - 1) / tile;
  std::vector<double> q_sums(static_cast<size_t>(parts));
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (auto k = begin; k < end; ++k) {
      const auto first = all.begin + k * tile;
      q_sums[static_cast<size_t>(k)] = kernels::finish_rows(a, rows, first, std::min(all.begin + m, first + tile));
    }
  });
  value.dx = dx.narrow(0, all.begin, m);
  for (const auto sum : q_sums) g -= sum;
  value.d = kernels::kernel_derivatives(scalars.kind, g, distance, scalars.gamma, scalars.c, scalars.sigma);
  return value;
}

/**
 * Value and gradients come from one sweep, in the forward; the backward scales them. `x` is there for its gradient, `all` for its values.
 */
struct Tiled : torch::autograd::Function<Tiled> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gamma, const Variable& c, const Variable& sigma,
                          const Gathered& all, const at::Tensor& y, KernelKind kind, double sigma_teacher) {
    const Scalars scalars{kind, gamma.item<double>(), c.item<double>(), sigma.item<double>(), sigma_teacher};
    const bool gradient = x.requires_grad() || gamma.requires_grad() || c.requires_grad() || sigma.requires_grad();
    const auto value = sweep(all, x.size(0), y, scalars, gradient);
    const auto scalar = [&](double v) { return at::full({}, v, x.options().requires_grad(false)); };
    if (gradient) ctx->save_for_backward({value.dx, scalar(value.d.dgamma), scalar(value.d.dc), scalar(value.d.dsigma)});
    return scalar(value.loss);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    variable_list out(8);
    const auto saved = ctx->get_saved_variables();
    for (size_t i = 0; i < saved.size(); ++i) {
      if (ctx->needs_input_grad(i)) out[i] = saved[i] * grads[0];
    }
    return out;
  }
};

}  // namespace

at::Tensor kernel_alignment_tiled(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
  auto values = all.value_or(Gathered{x.detach(), 0, 0, 1, {}});
  values.x = values.x.contiguous();
  return Tiled::apply(x, p.gamma, p.c, p.sigma, values, y.contiguous(), p.kind, p.sigma_teacher);
}

}  // namespace kuea
