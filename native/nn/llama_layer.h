#pragma once

#include <array>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/lora_linear.h"
#include "ops/causal_attention.h"
#include "ops/dropout.h"
#include "ops/rope.h"

namespace kuea {

/** What every layer is told of the tokens of a pass: samples laid end to end. */
struct Sequence {
  std::vector<int64_t> lengths;
  RotaryTable rotary;
  Dropout dropout;
};

/** Rotated keys and values of a sequence that is being generated, [capacity, width] each, of which the first `length` rows are set. */
struct KeyValueCache {
  at::Tensor k, v;
  int64_t length = 0;

  /** Appends rows [tokens, width]. */
  void append(const at::Tensor& keys, const at::Tensor& values);
};

/** What a layer's backward needs. All but `x` can be computed again from x. */
struct LlamaLayerState {
  at::Tensor x, middle, rstd1, rstd2, q, k, v, gate, up;
  CausalAttention attention;
  std::array<at::Tensor, 7> h;
};

/** A pre-norm LLaMA block: x += o(attention(q, k, v of norm(x))); x += down(silu(gate) up of norm(x)). */
class LlamaLayer {
 public:
  struct Maps {
    LoraLinear q, k, v, o, gate, up, down;
  };
  LlamaLayer(at::Tensor input_norm, at::Tensor post_attention_norm, Maps maps, int64_t heads, double eps)
      : input_norm_(std::move(input_norm)),
        post_attention_norm_(std::move(post_attention_norm)),
        maps_(std::move(maps)),
        heads_(heads),
        eps_(eps) {}

  /**
   * x [tokens, width] -> the same shape, or with `rows` (int64, sorted) those rows alone: of the last layer only rows with a label are
   * read, and its output projection and MLP are 3/4 of its products. Fills `state` when it is not null.
   */
  at::Tensor forward(const at::Tensor& x, const Sequence& sequence, const at::Tensor& rows, LlamaLayerState* state) const;

  /**
   * Takes g, the gradient for forward's result, to the gradient for x, and adds to the adapters'. Without `through` it ends at the adapters
   * of q, k and v.
   */
  at::Tensor backward(at::Tensor g, const Sequence& sequence, const at::Tensor& rows, LlamaLayerState& state, bool through) const;

  /** The next tokens of one sequence, [tokens, width]: their keys and values go to the cache. `rows` as above. */
  at::Tensor generate(const at::Tensor& x, const Sequence& sequence, const at::Tensor& rows, KeyValueCache& cache) const;

 private:
  at::Tensor feed_forward(at::Tensor middle, const Sequence& sequence, LlamaLayerState* state) const;

  at::Tensor input_norm_, post_attention_norm_;
  Maps maps_;
  int64_t heads_;
  double eps_;
};

}  // namespace kuea
