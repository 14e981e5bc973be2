#include "models/clip.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>

#include "runtime/error.h"

namespace kuea {

ClipVision::ClipVision(const ClipVisionArch& arch, at::ScalarType compute, at::Device device)
    : VisionModel(device),
      arch_(arch),
      conv1_(parameters_, "conv1.weight", "", arch.width, arch.patch_size, compute),
      class_embedding_(parameters_.add("class_embedding", {arch.width})),
      positional_embedding_(parameters_.add(
          "positional_embedding", {(arch.image_size / arch.patch_size) * (arch.image_size / arch.patch_size) + 1, arch.width})),
      ln_pre_(parameters_, "ln_pre", arch.width, 1e-5),
      transformer_([&] {
        Transformer blocks;
        for (int64_t i = 0; i < arch.layers; ++i) {
          const auto block = "transformer.resblocks." + std::to_string(i) + ".";
          blocks.add(parameters_,
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
      }()),
      ln_post_(parameters_, "ln_post", arch.width, 1e-5),
      proj_(parameters_.add("proj", {arch.width, arch.embed_dim})) {}

void ClipVision::check_size(int64_t size) const {
  if (size != arch_.image_size) {
    throw Error("bad_image_size", "this CLIP takes images of " + std::to_string(arch_.image_size) + " pixels a side, but was given " + std::to_string(size));
  }
}

at::Tensor ClipVision::embed(const at::Tensor& pixels, bool checkpointing) const {
  const auto patches = conv1_(pixels).to(at::kFloat);
  const auto cls = class_embedding_.expand({pixels.size(0), 1, arch_.width});
  const auto x = ln_pre_(at::cat({cls, patches}, 1) + positional_embedding_);
  // The projection of one row an image is not worth rounding: fp32 in every precision.
  return at::mm(ln_post_(transformer_.first_token(x, checkpointing)), proj_);
}

}  // namespace kuea
