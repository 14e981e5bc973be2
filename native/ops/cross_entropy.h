#pragma once

#include <ATen/core/Tensor.h>

namespace kuea {

/** A weighted sum of cross-entropies and its gradient. */
struct CrossEntropy {
  /** fp64, no dimensions, on the device. */
  at::Tensor loss;
  /** [rows, width] like the hidden states; undefined when it was not asked for. */
  at::Tensor gradient;
};

/**
 * sum_i weights[i] cross_entropy(hidden[i] head^T, targets[i]): hidden [rows, width] and head [vocabulary, width] of one dtype, targets
 * int64 [rows], weights fp32 [rows]. The rows are those with a label alone. Logits exist for a few rows at a time, and become their
 * gradient in place: the head is frozen, so the forward can make the hidden states' gradient at once (the fused linear cross-entropy of the
 * literature).
 */
CrossEntropy cross_entropy(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets, const at::Tensor& weights,
                           bool gradient);

}  // namespace kuea
