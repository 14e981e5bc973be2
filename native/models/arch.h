#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "nn/mlp.h"

namespace kuea {

/** Shape of a CLIP vision tower; see ClipVisionArch in lib/native/addon.ts. */
struct ClipVisionArch {
  int64_t width, layers, heads, mlp_width, patch_size, image_size, embed_dim;
  Activation activation;
};

inline int64_t patches(const ClipVisionArch& arch) { return (arch.image_size / arch.patch_size) * (arch.image_size / arch.patch_size); }

/** Shape of a CLIP text tower; see ClipTextArch in lib/native/text.ts. */
struct ClipTextArch {
  int64_t width, layers, heads, mlp_width, context, vocabulary, embed_dim;
  Activation activation;
  /** The token whose first row is the text's; the highest id of a row where there is none. */
  std::optional<int64_t> end_token;
};

/** Shape of a LLaMA; see LlamaArch in lib/native/llava.ts. */
struct LlamaArch {
  int64_t width, layers, heads, mlp_width, vocabulary;
  double rms_norm_eps, rope_theta;
};

/** How DINOv2's pos_embed is resampled to another grid; see Dinov2Arch in lib/native/addon.ts. */
enum class Interpolation { offset, size, antialias };

/** Shape of a DINOv2; see Dinov2Arch in lib/native/addon.ts. */
struct Dinov2Arch {
  int64_t width, layers, heads, mlp_width, patch_size, image_size, registers;
  Activation activation;
  Interpolation interpolation;
};

using Arch = std::variant<ClipVisionArch, Dinov2Arch>;

/** Throws Error `bad_config` when a number is none of such a model: before anything is allocated, or divided by it. */
void check_arch(const ClipVisionArch& arch);
void check_arch(const ClipTextArch& arch);
void check_arch(const Dinov2Arch& arch);
void check_arch(const LlamaArch& arch);

}  // namespace kuea
