#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "models/llava.h"

namespace kuea {

/** Greedy generation of one sequence with a cache of keys and values. Used on the device thread alone. */
class LlavaGenerator {
 public:
  explicit LlavaGenerator(const LlavaSpec& spec) : model_(spec, false, false) {}

  /**
   * Drops an older sequence; pixels uint8 [images, 3, s, s]. Returns the likeliest token (the first of equals). Throws Error `bad_batch`.
   */
  int64_t prefill(const std::vector<int64_t>& tokens, const std::vector<int64_t>& image_rows, const at::Tensor& pixels);

  /** Appends a token. Throws Error `no_sequence` before a prefill, `bad_batch`. */
  int64_t next(int64_t token);

 private:
  int64_t likeliest(const at::Tensor& x);

  Llava model_;
  std::vector<KeyValueCache> caches_;
};

}  // namespace kuea
