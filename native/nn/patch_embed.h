#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "nn/parameters.h"

namespace kuea {

/** Non-overlapping patches through one linear map: a convolution with stride = kernel, written as the matrix product that it is. */
class PatchEmbed {
 public:
  /** The weight keeps the convolution's shape [width, 3, patch, patch]. */
  PatchEmbed(Parameters& parameters, const std::string& weight_name, const std::string& bias_name, int64_t width, int64_t patch,
             at::ScalarType compute);

  /** pixels fp32 [n, 3, h, w], normalised, h and w multiples of the patch -> [n, (h / patch) (w / patch), width] in the compute dtype. */
  at::Tensor operator()(const at::Tensor& pixels) const;

 private:
  at::ScalarType compute_;
  int64_t patch_;
  at::Tensor weight_;
  at::Tensor bias_;
};

}  // namespace kuea
