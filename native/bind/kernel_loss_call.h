#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bind/napi_setup.h"
#include "ops/alignment/evaluate.h"

namespace kuea {

/** What kernelLoss in lib/native/addon.ts is given, but for the backend and the device. */
struct KernelLossCall {
  /** Throws a TypeError or RangeError that names the field. */
  explicit KernelLossCall(const Napi::Object& options);

  /** The rank whose part is wanted: where its rows begin; nullopt without `counts`. */
  std::optional<Gathered> part(const at::Tensor& all) const;
  int64_t rows() const { return counts.empty() ? n : counts[static_cast<size_t>(rank)]; }

  int64_t n, d, dt, rank = 0;
  KernelSpec kernel;
  bool gradient;
  /** The rows of each rank. */
  std::vector<int64_t> counts;
  /** [n, d] and [n, dt] in JavaScript's memory: of `x` and `y`, which the caller holds on to. */
  float *x, *y;
};

/** KernelLossResult. */
Napi::Object kernel_loss_result(Napi::Env env, const KernelLoss& result);

}  // namespace kuea
