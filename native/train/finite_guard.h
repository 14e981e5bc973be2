#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * Watches the losses and gradients of updates where they were computed, without reading them back: remembers the first that was not finite,
 * from which on no update may change anything.
 */
class FiniteGuard {
 public:
  explicit FiniteGuard(at::Device device);

  /**
   * `terms` fp64 [3 or more]: loss, kernel term and anchor term of update `step` (from 1 on); `norm` fp64 []: that of its gradient, once it
   * is known.
   */
  void watch(const at::Tensor& terms, const std::optional<at::Tensor>& norm, int64_t step);

  /** fp32 [1]: 1 once something was not finite, else 0. The fused optimiser leaves everything as it is where it finds 1. */
  at::Tensor found_inf() const;

  /** Synchronises a GPU. Throws Error `non_finite`, which names the step where that is not update `step`, and forgets it. */
  void check(int64_t step);

 private:
  at::Tensor first_;  // fp64 [5]: step, or 0 where there was none, its terms and its gradient's norm
};

}  // namespace kuea
