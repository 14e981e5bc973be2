#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/arch.h"
#include "nn/llama_layer.h"
#include "ops/cross_entropy.h"
#include "weights/frozen_weights.h"

namespace kuea {

/** Rank and scale (alpha / rank) of the adapters. */
struct LoraShape {
  int64_t rank;
  double scale;
};

/** How a pass keeps what its backward needs. */
struct Keeping {
  /** Of a layer only its input, from which the backward computes the rest again. */
  bool inputs_only = false;
  /** These inputs in host memory. */
  bool on_host = false;
};

/**
 * LLaMA (Touvron et al. 2023): a frozen causal transformer whose layers' linear maps may carry LoRA adapters. There is no autograd here:
 * every layer has its backward written out, so what is kept, and for how long, is in plain sight. Under NoGradGuard alone.
 */
class Llama {
 public:
  /** Takes its weights from `weights`, under LLaVA's names, and adds its adapters to `lora`, which outlives it. */
  Llama(const LlamaArch& arch, FrozenWeights& weights, const std::optional<LoraShape>& shape, FlatParameters& lora, at::ScalarType compute,
        at::Device device);

  /** ids int64 [tokens] -> [tokens, width]. */
  at::Tensor embed(const at::Tensor& ids) const;

  Sequence sequence(std::vector<int64_t> lengths, int64_t first = 0) const;

  /** x [tokens, width] -> the chosen rows (int64, sorted) after the last layer. Fills `states` for the backward unless it is null. */
  at::Tensor forward(at::Tensor x, const Sequence& sequence, const at::Tensor& rows, std::vector<LlamaLayerState>* states,
                     const Keeping& keeping) const;

  /**
   * From the gradient for forward's rows to that for x, [tokens, width]; adds to the adapters' gradients. Without `through` nothing is
   * returned.
   */
  at::Tensor backward(at::Tensor g, const Sequence& sequence, const at::Tensor& rows, std::vector<LlamaLayerState>& states,
                      const Keeping& keeping, bool through) const;

  /** Cross-entropies of the tokens predicted from rows of forward; see ops/cross_entropy.h. */
  CrossEntropy loss(const at::Tensor& hidden, const at::Tensor& targets, const at::Tensor& weights, bool gradient) const;

  /** The next tokens of one sequence -> fp32 logits [vocabulary] after the last one. */
  at::Tensor next_logits(at::Tensor x, std::vector<KeyValueCache>& caches) const;

  const LlamaArch& arch() const { return arch_; }

 private:
  LlamaArch arch_;
  at::ScalarType compute_;
  at::Device device_;
  at::Tensor embed_tokens_;
  std::vector<LlamaLayer> layers_;
  at::Tensor norm_;
  FrozenMatrix lm_head_;
};

}  // namespace kuea
