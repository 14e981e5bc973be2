#pragma once

#include <ATen/core/Tensor.h>

namespace kuea {

/** silu(gate) * up, any shape. */
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/** gate and up become their own gradients, given g for the result. */
void swiglu_backward_(const at::Tensor& g, at::Tensor& gate, at::Tensor& up);

}  // namespace kuea
