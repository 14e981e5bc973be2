#pragma once

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * weight * x / sqrt(mean(x^2) + eps) over the last dimension, as LLaMA has it: in fp32, rounded to x's dtype before the weight is
 * multiplied. x [rows, width], weight [width], of one dtype. `rstd` receives 1 / sqrt(...), fp32 [rows], when it is not null.
 */
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::Tensor* rstd = nullptr);

/** dx += the gradient for x, given g for the result; the weight is frozen. */
void rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd, const at::Tensor& g, at::Tensor& dx);

}  // namespace kuea
