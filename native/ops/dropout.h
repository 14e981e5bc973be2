#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * Dropout from a counter instead of a generator's state: what is dropped is a function of (seed, sample, position, module, feature), so the
 * backward makes the mask again, and packing, ranks and resuming do not change it.
 */
struct Dropout {
  double probability = 0;
  /** int32 [tokens], a hash of (seed, sample, position) each; undefined when the probability is 0. */
  at::Tensor keys;
};

/** For samples laid end to end; samples[i] identifies the i-th. */
Dropout make_dropout(double probability, uint64_t seed, std::span<const uint32_t> samples, const std::vector<int64_t>& lengths,
                     at::Device device);

/** x [tokens, width] with its dropped numbers 0 and the others over 1 - probability; x itself when the probability is 0. */
at::Tensor dropout(const at::Tensor& x, const Dropout& mask, uint32_t module);

/** y += dropout(x) with the same mask: the way back of a gradient. */
void dropout_add_(at::Tensor& y, const at::Tensor& x, const Dropout& mask, uint32_t module);

}  // namespace kuea
