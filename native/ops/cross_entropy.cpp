#include "ops/cross_entropy.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include "kernels/cross_entropy.h"
#include "ops/kernel_dispatch.h"

namespace kuea {
namespace {

// Logits that exist at once.
constexpr int64_t chunk_numbers = int64_t{1} << 22;

/** Losses fp32 [rows] of a chunk; the logits become their gradient when asked to. */
at::Tensor chunk_losses(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& weights, bool gradient) {
  const auto rows = logits.size(0), vocabulary = logits.size(1);
  if (!has_kernels(logits)) {
    const auto logits32 = logits.to(at::kFloat);
    const auto at_target = targets.unsqueeze(1);
    const auto losses = weights * (at::logsumexp(logits32, {1}) - logits32.gather(1, at_target).squeeze(1));
    if (gradient) {
      auto p = at::softmax(logits32, 1);
      p.scatter_add_(1, at_target, at::full_like(at_target, -1, p.options()));
      logits.copy_(p.mul_(weights.unsqueeze(1)));
    }
    return losses;
  }
  auto losses = at::empty({rows}, logits.options().dtype(at::kFloat));
  dispatch(logits, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, rows, row_grain(vocabulary), [&](int64_t begin, int64_t end) {
      kernels::cross_entropy(numbers<T>(logits, begin * vocabulary), numbers<int64_t>(targets, begin), numbers<float>(weights, begin),
                             numbers<float>(losses, begin), end - begin, vocabulary, gradient);
    });
  });
  return losses;
}

}  // namespace

CrossEntropy cross_entropy(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets, const at::Tensor& weights,
                           bool gradient) {
  CrossEntropy out{at::zeros({}, hidden.options().dtype(at::kDouble)), gradient ? at::empty_like(hidden) : at::Tensor()};
  const auto rows = hidden.size(0);
  const auto chunk = std::max<int64_t>(1, chunk_numbers / head.size(0));
  for (int64_t first = 0; first < rows; first += chunk) {
    const auto count = std::min(chunk, rows - first);
    auto logits = at::mm(hidden.narrow(0, first, count), head.t());
    out.loss.add_(chunk_losses(logits, targets.narrow(0, first, count), weights.narrow(0, first, count), gradient).sum(at::kDouble));
    if (gradient) out.gradient.narrow(0, first, count).copy_(at::mm(logits, head));
  }
  return out;
}

}  // namespace kuea
