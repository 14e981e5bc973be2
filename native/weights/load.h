#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/parameters.h"
#include "weights/stored_tensor.h"

namespace kuea {

/** One copy of a load plan: `source` becomes rows [row, row + source.shape[0]) of a parameter, or the whole of it when row is -1. */
struct LoadStep {
  std::string parameter;
  int64_t row = -1;
  StoredTensor source;
};

/**
 * Carries a plan out, converting to fp32. Throws Error `bad_plan` when a step names no parameter, shapes differ, an element is set twice or
 * one is left unset: a model is loaded whole or not at all.
 */
void load_tensors(const std::vector<Parameter>& parameters, const std::vector<LoadStep>& plan);

}  // namespace kuea
