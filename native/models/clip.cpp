#include "models/clip.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>

#include "runtime/error.h"

namespace kuea {

ClipTower::ClipTower(Parameters& parameters, const ClipVisionArch& arch, int64_t layers, at::ScalarType compute)
    : width_(arch.width),
      conv1_(parameters, "conv1.weight", "", arch.width, arch.patch_size, compute),
      class_embedding_(parameters.add("class_embedding", {arch.width})),
      positional_embedding_(parameters.add("positional_embedding", {patches(arch) + 1, arch.width})),
      ln_pre_(parameters, "ln_pre", arch.width, 1e-5),
      transformer_(clip_blocks(parameters, arch, layers, compute)) {}

at::Tensor ClipTower::embed(const at::Tensor& pixels) const {
  const auto patches = conv1_(pixels).to(at::kFloat);
  const auto cls = class_embedding_.expand({pixels.size(0), 1, width_});
  return ln_pre_(at::cat({cls, patches}, 1) + positional_embedding_);
}

ClipVision::ClipVision(const ClipVisionArch& arch, at::ScalarType compute, at::Device device)
    : VisionModel(device),
      arch_(arch),
      tower_(parameters_, arch, arch.layers, compute),
      ln_post_(parameters_, "ln_post", arch.width, 1e-5),
      proj_(parameters_.add("proj", {arch.width, arch.embed_dim})) {}

void ClipVision::check_size(int64_t size) const {
  if (size != arch_.image_size) {
    throw Error("bad_image_size",
                "this CLIP takes images of " + std::to_string(arch_.image_size) + " pixels a side, but was given " + std::to_string(size));
  }
}

at::Tensor ClipVision::embed(const at::Tensor& pixels, bool checkpointing) const {
  // The projection of one row an image is not worth rounding: fp32 in every precision.
  return at::mm(ln_post_(tower_.blocks().first_token(tower_.embed(pixels), checkpointing)), proj_);
}

ClipFeatures::ClipFeatures(const ClipVisionArch& arch, bool ln_post, at::ScalarType compute, at::Device device)
    : parameters_(device, compute), tower_(parameters_, arch, arch.layers - 1, compute) {
  if (ln_post) ln_post_.emplace(parameters_, "ln_post", arch.width, 1e-5);
}

at::Tensor ClipFeatures::operator()(const at::Tensor& pixels) const {
  const auto tokens = tower_.blocks()(tower_.embed(pixels));
  const auto patches = tokens.narrow(1, 1, tokens.size(1) - 1);
  return ln_post_ ? (*ln_post_)(patches) : patches;
}

}  // namespace kuea
