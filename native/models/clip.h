#pragma once

#include "models/vision_model.h"
#include "nn/layer_norm.h"
#include "nn/patch_embed.h"
#include "nn/transformer.h"

namespace kuea {

/** CLIP's vision transformer (Radford et al. 2021) under OpenAI's and open_clip's names, without their `visual.` prefix. */
class ClipVision final : public VisionModel {
 public:
  ClipVision(const ClipVisionArch& arch, at::ScalarType compute, at::Device device);

  at::Tensor embed(const at::Tensor& pixels, bool checkpointing) const override;
  int64_t dim() const override { return arch_.embed_dim; }
  void check_size(int64_t size) const override;

 private:
  ClipVisionArch arch_;
  PatchEmbed conv1_;
  at::Tensor class_embedding_;
  at::Tensor positional_embedding_;
  LayerNorm ln_pre_;
  Transformer transformer_;
  LayerNorm ln_post_;
  at::Tensor proj_;
};

}  // namespace kuea
