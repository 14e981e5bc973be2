#pragma once

#include <cstdint>

#include "kernels/scalar.h"

// `count` queries of a causal attention, the i-th of which sees the first seen + i of `keys` keys. Scores s = q k, p and their gradients
// are [count, keys], logsumexp and delta a number a query. Arithmetic in fp32.
namespace kuea::kernels {

/** p = softmax(scale s) over the keys that are seen, 0 for the others; logsumexp of scale s. */
void causal_softmax(const float* s, float* p, float* logsumexp, int64_t count, int64_t keys, int64_t seen, float scale);
void causal_softmax(const float* s, Bf16* p, float* logsumexp, int64_t count, int64_t keys, int64_t seen, float scale);

/** p again, and ds = scale p (dp - delta). */
void causal_softmax_backward(const float* s, const float* dp, const float* logsumexp, const float* delta, float* p, float* ds,
                             int64_t count, int64_t keys, int64_t seen, float scale);
void causal_softmax_backward(const float* s, const Bf16* dp, const float* logsumexp, const float* delta, Bf16* p, Bf16* ds, int64_t count,
                             int64_t keys, int64_t seen, float scale);

}  // namespace kuea::kernels
