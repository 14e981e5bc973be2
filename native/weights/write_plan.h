#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "weights/stored_tensor.h"

namespace kuea {

/** One tensor of a file to be written; WriteStep in lib/native/addon.ts. */
struct WriteStep {
  std::string parameter, state;
  int64_t row = 0;
  std::optional<int64_t> rows;
  bool transpose = false;
  std::optional<StoredTensor> source;
  /** What is added to the source: scale * b a. */
  struct Merge {
    StoredTensor a, b;
    double scale;
  };
  std::optional<Merge> merge;
  at::ScalarType dtype = at::kFloat;
};

/** Carries a write plan out; `find(parameter, state)` gives the tensors. */
void write_plan(const std::string& path, std::span<const std::byte> header, const std::vector<WriteStep>& steps,
                const std::function<at::Tensor(const std::string& parameter, const std::string& state)>& find);

}  // namespace kuea
