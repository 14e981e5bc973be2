#pragma once

#include <ATen/core/Tensor.h>

namespace kuea {

/** x sigmoid(1.702 x), fp32 or bf16, any shape. On the CPU one pass over memory each way, and only x is kept for the backward. */
at::Tensor quick_gelu(const at::Tensor& x);

}  // namespace kuea
