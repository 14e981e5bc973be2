#include "kernels/causal_softmax.h"

#include <cmath>

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

KUEA_INLINE int64_t seen_by(int64_t row, int64_t keys, int64_t seen) { return seen + row < keys ? seen + row : keys; }

template <class T>
KUEA_INLINE void forward(const float* __restrict s, T* __restrict p, float* logsumexp, int64_t count, int64_t keys, int64_t seen,
                         float scale) {
  for (int64_t row = 0; row < count; ++row, s += keys, p += keys) {
    const int64_t end = seen_by(row, keys, seen);
    float largest = s[0];
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < end; ++i) largest = s[i] > largest ? s[i] : largest;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < end; ++i) sum += exponential(scale * (s[i] - largest));
    logsumexp[row] = scale * largest + std::log(sum);
    const float inverse = 1.0f / sum;
#pragma omp simd
    for (int64_t i = 0; i < end; ++i) store(p + i, inverse * exponential(scale * (s[i] - largest)));
    for (int64_t i = end; i < keys; ++i) p[i] = 0;
  }
}

template <class T>
KUEA_INLINE void backward(const float* __restrict s, const T* __restrict dp, const float* logsumexp, const float* delta, T* __restrict p,
                          T* __restrict ds, int64_t count, int64_t keys, int64_t seen, float scale) {
  for (int64_t row = 0; row < count; ++row, s += keys, dp += keys, p += keys, ds += keys) {
    const int64_t end = seen_by(row, keys, seen);
    const float sum = logsumexp[row], mean = delta[row];
#pragma omp simd
    for (int64_t i = 0; i < end; ++i) {
      const float probability = exponential(scale * s[i] - sum);
      store(p + i, probability);
      store(ds + i, scale * probability * (load(dp[i]) - mean));
    }
    for (int64_t i = end; i < keys; ++i) p[i] = ds[i] = 0;
  }
}

KUEA_CLONES void forward_float(const float* s, float* p, float* logsumexp, int64_t count, int64_t keys, int64_t seen, float scale) {
  forward(s, p, logsumexp, count, keys, seen, scale);
}
KUEA_CLONES void forward_bf16(const float* s, Bf16* p, float* logsumexp, int64_t count, int64_t keys, int64_t seen, float scale) {
  forward(s, p, logsumexp, count, keys, seen, scale);
}
KUEA_CLONES void backward_float(const float* s, const float* dp, const float* logsumexp, const float* delta, float* p, float* ds,
                                int64_t count, int64_t keys, int64_t seen, float scale) {
  backward(s, dp, logsumexp, delta, p, ds, count, keys, seen, scale);
}
KUEA_CLONES void backward_bf16(const float* s, const Bf16* dp, const float* logsumexp, const float* delta, Bf16* p, Bf16* ds, int64_t count,
                               int64_t keys, int64_t seen, float scale) {
  backward(s, dp, logsumexp, delta, p, ds, count, keys, seen, scale);
}

}  // namespace

void causal_softmax(const float* s, float* p, float* logsumexp, int64_t count, int64_t keys, int64_t seen, float scale) {
  forward_float(s, p, logsumexp, count, keys, seen, scale);
}
void causal_softmax(const float* s, Bf16* p, float* logsumexp, int64_t count, int64_t keys, int64_t seen, float scale) {
  forward_bf16(s, p, logsumexp, count, keys, seen, scale);
}
void causal_softmax_backward(const float* s, const float* dp, const float* logsumexp, const float* delta, float* p, float* ds,
                             int64_t count, int64_t keys, int64_t seen, float scale) {
  backward_float(s, dp, logsumexp, delta, p, ds, count, keys, seen, scale);
}
void causal_softmax_backward(const float* s, const Bf16* dp, const float* logsumexp, const float* delta, Bf16* p, Bf16* ds, int64_t count,
                             int64_t keys, int64_t seen, float scale) {
  backward_bf16(s, dp, logsumexp, delta, p, ds, count, keys, seen, scale);
}

}  // namespace kuea::kernels
