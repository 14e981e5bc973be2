#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/vision_model.h"
#include "nn/layer_norm.h"
#include "nn/patch_embed.h"
#include "nn/transformer.h"

namespace kuea {

/** The blocks of either of CLIP's towers, under OpenAI's names (`transformer.resblocks.N.`); the first `layers` of a tower's. */
template <class Tower>
Transformer clip_blocks(Parameters& parameters, const Tower& arch, int64_t layers, at::ScalarType compute) {
  Transformer blocks;
  for (int64_t i = 0; i < layers; ++i) {
    const auto block = "transformer.resblocks." + std::to_string(i) + ".";
    blocks.add(parameters,
               {.norm1 = block + "ln_1",
                .norm2 = block + "ln_2",
                .mlp_first = block + "mlp.c_fc",
                .mlp_second = block + "mlp.c_proj",
                .attention = {block + "attn.in_proj_weight", block + "attn.in_proj_bias", block + "attn.out_proj"},
                .scale1 = "",
                .scale2 = "",
                .width = arch.width,
                .heads = arch.heads,
                .hidden = arch.mlp_width,
                .eps = 1e-5,
                .activation = arch.activation},
               compute);
  }
  return blocks;
}

/** The patch embedding and the first `layers` blocks of CLIP's vision transformer (Radford et al. 2021). */
class ClipTower {
 public:
  ClipTower(Parameters& parameters, const ClipVisionArch& arch, int64_t layers, at::ScalarType compute);

  /** pixels fp32 [n, 3, s, s], normalised -> fp32 [n, patches + 1, width], what the first block is given. The class token comes first. */
  at::Tensor embed(const at::Tensor& pixels) const;
  const Transformer& blocks() const { return transformer_; }

 private:
  int64_t width_;
  PatchEmbed conv1_;
  at::Tensor class_embedding_;
  at::Tensor positional_embedding_;
  LayerNorm ln_pre_;
  Transformer transformer_;
};

/** The whole of it, under OpenAI's and open_clip's names without their `visual.` prefix. */
class ClipVision final : public VisionModel {
 public:
  ClipVision(const ClipVisionArch& arch, at::ScalarType compute, at::Device device);

  at::Tensor embed(const at::Tensor& pixels, bool checkpointing) const override;
  int64_t dim() const override { return arch_.embed_dim; }
  void check_size(int64_t size) const override;

 private:
  ClipVisionArch arch_;
  ClipTower tower_;
  LayerNorm ln_post_;
  at::Tensor proj_;
};

/**
 * What LLaVA sees: the patch tokens after the last block but one, as they are or through ln_post. Frozen, in the dtype of the arithmetic;
 * the last block is not loaded.
 */
class ClipFeatures {
 public:
  ClipFeatures(const ClipVisionArch& arch, bool ln_post, at::ScalarType compute, at::Device device);

  /** pixels fp32 [n, 3, s, s], normalised -> fp32 [n, patches, width]. */
  at::Tensor operator()(const at::Tensor& pixels) const;

  const std::vector<Parameter>& parameters() const { return parameters_.all(); }

 private:
  Parameters parameters_;
  ClipTower tower_;
  std::optional<LayerNorm> ln_post_;
};

}  // namespace kuea
