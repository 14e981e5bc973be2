#include "nn/mlp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>

#include "ops/quick_gelu.h"

namespace kuea {

Mlp::Mlp(Parameters& parameters, const std::string& first, const std::string& second, int64_t width, int64_t hidden, Activation activation,
         at::ScalarType compute)
    : activation_(activation),
      first_(parameters, first + ".weight", first + ".bias", width, activation == Activation::swiglu ? 2 * hidden : hidden, compute),
      second_(parameters, second + ".weight", second + ".bias", hidden, width, compute) {}

at::Tensor Mlp::operator()(const at::Tensor& x) const {
  const auto h = first_(x);
  switch (activation_) {
    case Activation::quick_gelu:
      return second_(quick_gelu(h));
    case Activation::gelu:
      return second_(at::gelu(h));
    case Activation::swiglu: {
      const auto halves = h.chunk(2, -1);
      return second_(at::silu(halves[0]) * halves[1]);
    }
  }
  return {};
}

}  // namespace kuea
