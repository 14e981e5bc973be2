#pragma once

#include <cstdint>

#include "kernels/scalar.h"

namespace kuea::kernels {

/**
 * Root mean square normalisation of `rows` rows: y = weight * round(x * rstd), rstd = 1 / sqrt(mean(x^2) + eps), where round() is to T.
 * `rstd` takes one number a row, or is null. Arithmetic in fp32.
 */
void rms_norm(const float* x, const float* weight, float* y, float* rstd, int64_t rows, int64_t width, float eps);
void rms_norm(const Bf16* x, const Bf16* weight, Bf16* y, float* rstd, int64_t rows, int64_t width, float eps);

/** dx += rstd (w g - x_hat mean(w g x_hat)) with x_hat = x rstd. */
void rms_norm_backward(const float* x, const float* weight, const float* rstd, const float* g, float* dx, int64_t rows, int64_t width);
void rms_norm_backward(const Bf16* x, const Bf16* weight, const float* rstd, const Bf16* g, Bf16* dx, int64_t rows, int64_t width);

}  // namespace kuea::kernels
