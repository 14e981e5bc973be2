#pragma once

#include <cstdint>

#include "kernels/scalar.h"

namespace kuea::kernels {

/**
 * losses[i] = weights[i] (log sum_j exp(logits[i, j]) - logits[i, targets[i]]) of `rows` rows; the logits become the gradient weights[i]
 * (softmax - one hot) when `gradient`. Arithmetic in fp32. A row that is not finite gives a loss that is not.
 */
void cross_entropy(float* logits, const int64_t* targets, const float* weights, float* losses, int64_t rows, int64_t vocabulary,
                   bool gradient);
void cross_entropy(Bf16* logits, const int64_t* targets, const float* weights, float* losses, int64_t rows, int64_t vocabulary,
                   bool gradient);

}  // namespace kuea::kernels
