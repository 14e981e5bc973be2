#pragma once

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * x W^T + b with fp32 master weights and arithmetic in the dtype of `weight_compute`.
 *
 * x [..., in] in the compute dtype; weight [out, in] and bias [out] fp32, which receive fp32 gradients; weight_compute [out, in] and
 * bias_compute [out] are their copies in the compute dtype (the same tensors in fp32). Returns [..., out] in the compute dtype. The copies
 * are made once an update rather than once a call, which is what autocast does.
 */
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& weight_compute,
                  const at::Tensor& bias_compute);

}  // namespace kuea
