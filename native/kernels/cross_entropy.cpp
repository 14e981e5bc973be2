#include "kernels/cross_entropy.h"

#include <cmath>

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

template <class T>
KUEA_INLINE void rows_of(T* __restrict logits, const int64_t* targets, const float* weights, float* losses, int64_t rows,
                         int64_t vocabulary, bool gradient) {
  for (int64_t row = 0; row < rows; ++row, logits += vocabulary) {
    float largest = -INFINITY;
    // x - x is 0 of a finite number alone: the sum tells what exponential() would hide.
    float fault = 0;
#pragma omp simd reduction(max : largest) reduction(+ : fault)
    for (int64_t i = 0; i < vocabulary; ++i) {
      const float x = load(logits[i]);
      largest = x > largest ? x : largest;
      fault += x - x;
    }
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < vocabulary; ++i) sum += exponential(load(logits[i]) - largest);
    const float target = load(logits[targets[row]]);
    losses[row] = weights[row] * (std::log(sum) + (largest - target)) + fault;
    if (!gradient) continue;
    const float scale = weights[row] / sum;
#pragma omp simd
    for (int64_t i = 0; i < vocabulary; ++i) store(logits + i, scale * exponential(load(logits[i]) - largest));
    // From fp32 again: softmax - 1 of a rounded softmax would lose what a confident row has left.
    store(logits + targets[row], scale * exponential(target - largest) - weights[row]);
  }
}

KUEA_CLONES void rows_float(float* logits, const int64_t* targets, const float* weights, float* losses, int64_t rows, int64_t vocabulary,
                            bool gradient) {
  rows_of(logits, targets, weights, losses, rows, vocabulary, gradient);
}
KUEA_CLONES void rows_bf16(Bf16* logits, const int64_t* targets, const float* weights, float* losses, int64_t rows, int64_t vocabulary,
                           bool gradient) {
  rows_of(logits, targets, weights, losses, rows, vocabulary, gradient);
}

}  // namespace

void cross_entropy(float* logits, const int64_t* targets, const float* weights, float* losses, int64_t rows, int64_t vocabulary,
                   bool gradient) {
  rows_float(logits, targets, weights, losses, rows, vocabulary, gradient);
}
void cross_entropy(Bf16* logits, const int64_t* targets, const float* weights, float* losses, int64_t rows, int64_t vocabulary,
                   bool gradient) {
  rows_bf16(logits, targets, weights, losses, rows, vocabulary, gradient);
}

}  // namespace kuea::kernels
