#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/arch.h"
#include "nn/layer_norm.h"
#include "nn/transformer.h"
#include "weights/load.h"

namespace kuea {

/** CLIP's text transformer (Radford et al. 2021), under OpenAI's and open_clip's names. Frozen, in the dtype of the arithmetic. */
class ClipText {
 public:
  /** Loads the weights. Throws Error `bad_config`, `bad_plan`, `bad_tensor` or `unreadable_file`. */
  ClipText(const ClipTextArch& arch, const std::vector<LoadStep>& weights, at::ScalarType compute, at::Device device);

  /**
   * ids [n, context] of n texts, whatever lies behind a text's end -> fp32 [n, dim], un-normalised. Throws Error `bad_batch` for an id that
   * is none of the vocabulary's, a text without its end, and more than the tower's context.
   */
  at::Tensor embed(const std::vector<int32_t>& ids, int64_t n, int64_t context) const;

  int64_t dim() const { return arch_.embed_dim; }

 private:
  /** Position of a text's end. */
  int64_t end_of(const int32_t* ids, int64_t context) const;

  ClipTextArch arch_;
  Parameters parameters_;
  at::Tensor token_embedding_;
  at::Tensor positional_embedding_;
  Transformer transformer_;
  LayerNorm ln_final_;
  at::Tensor text_projection_;
};

}  // namespace kuea
