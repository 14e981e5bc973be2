#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * Activation checkpointing (Chen et al. 2016): f(x), of which only x is kept; the backward computes f again with its graph. f must be
 * deterministic, outlive the backward, and may read parameters that require gradients: these accumulate in their .grad.
 */
at::Tensor checkpoint(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x);

}  // namespace kuea
