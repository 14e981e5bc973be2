#include "models/dinov2.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include "runtime/error.h"

namespace kuea {
namespace {

int64_t stored_grid(const Dinov2Arch& arch) { return arch.image_size / arch.patch_size; }

}  // namespace

Dinov2::Dinov2(const Dinov2Arch& arch, at::ScalarType compute, at::Device device)
    : VisionModel(device),
      arch_(arch),
      cls_token_(parameters_.add("cls_token", {1, 1, arch.width})),
      pos_embed_(parameters_.add("pos_embed", {1, stored_grid(arch) * stored_grid(arch) + 1, arch.width})),
      register_tokens_(arch.registers > 0 ? parameters_.add("register_tokens", {1, arch.registers, arch.width}) : at::Tensor()),
      patch_embed_(parameters_, "patch_embed.proj.weight", "patch_embed.proj.bias", arch.width, arch.patch_size, compute),
      blocks_([&] {
        Transformer blocks;
        const bool swiglu = arch.activation == Activation::swiglu;
        for (int64_t i = 0; i < arch.layers; ++i) {
          const auto block = "blocks." + std::to_string(i) + ".";
          blocks.add(parameters_,
                     {.norm1 = block + "norm1",
                      .norm2 = block + "norm2",
                      .mlp_first = block + (swiglu ? "mlp.w12" : "mlp.fc1"),
                      .mlp_second = block + (swiglu ? "mlp.w3" : "mlp.fc2"),
                      .attention = {block + "attn.qkv.weight", block + "attn.qkv.bias", block + "attn.proj"},
                      .scale1 = block + "ls1.gamma",
                      .scale2 = block + "ls2.gamma",
                      .width = arch.width,
                      .heads = arch.heads,
                      .hidden = arch.mlp_width,
                      .eps = 1e-6,
                      .activation = arch.activation},
                     compute);
        }
        return blocks;
      }()),
      norm_(parameters_, "norm", arch.width, 1e-6) {}

void Dinov2::check_size(int64_t size) const {
  if (size <= 0 || size % arch_.patch_size != 0) {
    throw Error("bad_image_size", "this DINOv2 takes images whose side is a multiple of its patch size " +
                                      std::to_string(arch_.patch_size) + ", but was given " + std::to_string(size) +
                                      ": set teacher_size to such a multiple");
  }
}

at::Tensor Dinov2::position(int64_t grid) const {
  const auto from = stored_grid(arch_);
  if (grid == from) return pos_embed_;
  if (grid == grid_) return resampled_;
  const auto cls = pos_embed_.narrow(1, 0, 1);
  const auto patches = pos_embed_.narrow(1, 1, from * from).view({1, from, from, arch_.width}).permute({0, 3, 1, 2});
  at::Tensor out;
  switch (arch_.interpolation) {
    case Interpolation::offset: {
      // The hub passes a scale factor of (grid + 0.1) / from, and bicubic sampling follows that factor, not the sizes.
      const double scale = (static_cast<double>(grid) + 0.1) / static_cast<double>(from);
      out = at::upsample_bicubic2d(patches, {grid, grid}, false, scale, scale);
      break;
    }
    case Interpolation::size:
      out = at::upsample_bicubic2d(patches, {grid, grid}, false);
      break;
    case Interpolation::antialias:
      out = at::_upsample_bicubic2d_aa(patches, {grid, grid}, false);
      break;
  }
  resampled_ = at::cat({cls, out.permute({0, 2, 3, 1}).reshape({1, grid * grid, arch_.width})}, 1);
  grid_ = grid;
  return resampled_;
}

at::Tensor Dinov2::embed(const at::Tensor& pixels, bool checkpointing) const {
  const auto n = pixels.size(0);
  const auto position = this->position(pixels.size(2) / arch_.patch_size);
  auto tokens = at::cat({cls_token_.expand({n, 1, arch_.width}), patch_embed_(pixels).to(at::kFloat)}, 1) + position;
  // Registers come after the class token and have no position of their own.
  if (register_tokens_.defined()) {
    tokens = at::cat(
        {tokens.narrow(1, 0, 1), register_tokens_.expand({n, arch_.registers, arch_.width}), tokens.narrow(1, 1, tokens.size(1) - 1)}, 1);
  }
  return norm_(blocks_.first_token(tokens, checkpointing));
}

}  // namespace kuea
