#pragma once

#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "nn/parameters.h"

namespace kuea {

/** Affine map with fp32 master weights, or frozen ones in the dtype of the arithmetic (Parameters); see ops/linear.h. */
class Linear {
 public:
  /** Parameters are named by the caller, because upstreams differ (in_proj_weight, qkv.weight). An empty bias name means no bias. */
  Linear(Parameters& parameters, const std::string& weight_name, const std::string& bias_name, int64_t in, int64_t out,
         at::ScalarType compute);

  /** x [..., in] in the compute dtype -> [..., out]. */
  at::Tensor operator()(const at::Tensor& x) const { return rows(x, 0, weight_.size(0)); }

  /** Only output features [start, start + count): the query part of a fused qkv, say. */
  at::Tensor rows(const at::Tensor& x, int64_t start, int64_t count) const;

 private:
  void refresh() const;

  at::ScalarType compute_;
  at::Tensor weight_;
  at::Tensor bias_;
  // Copies in the compute dtype, renewed when the masters' version counter moves (every in-place update moves it).
  mutable at::Tensor weight_compute_;
  mutable at::Tensor bias_compute_;
  mutable std::optional<int64_t> version_;
};

}  // namespace kuea
