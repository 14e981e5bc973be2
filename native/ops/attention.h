#pragma once

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * softmax(q k^T / sqrt(d)) v, through libtorch's SDPA. q [n, heads, tokens_q, d], k and v [n, heads, tokens, d]; returns [n, heads,
 * tokens_q, d].
 *
 * On the CPU the backward is ours: libtorch's flash backward works in tiles too small for bf16 matrix products, and takes three times as
 * long at the few hundred tokens of an image. Like it, this keeps the logarithm of the row sums and computes the probabilities again, an
 * image at a time.
 */
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/** The same where token i sees those up to itself alone, of q with as many tokens as k. For models that stay frozen. */
at::Tensor prefix_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/** The same for one query a sample, q [n, heads, 1, d], which sees the tokens up to position last[n]. For models that stay frozen. */
at::Tensor prefix_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& last);

}  // namespace kuea
