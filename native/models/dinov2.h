#pragma once

#include "models/vision_model.h"
#include "nn/layer_norm.h"
#include "nn/patch_embed.h"
#include "nn/transformer.h"

namespace kuea {

/** DINOv2 (Oquab et al. 2023), with or without registers (Darcet et al. 2023), under the names of its hub checkpoints. Not trained here. */
class Dinov2 final : public VisionModel {
 public:
  Dinov2(const Dinov2Arch& arch, at::ScalarType compute, at::Device device);

  at::Tensor embed(const at::Tensor& pixels, bool checkpointing) const override;
  int64_t dim() const override { return arch_.width; }
  void check_size(int64_t size) const override;

 private:
  /** pos_embed for a grid of this side, fp32 [1, grid^2 + 1, width]; the class token's row is kept. */
  at::Tensor position(int64_t grid) const;

  Dinov2Arch arch_;
  at::Tensor cls_token_;
  at::Tensor pos_embed_;
  at::Tensor register_tokens_;
  PatchEmbed patch_embed_;
  Transformer blocks_;
  LayerNorm norm_;
  // The last grid's position(): the weights do not change.
  mutable int64_t grid_ = 0;
  mutable at::Tensor resampled_;
};

}  // namespace kuea
