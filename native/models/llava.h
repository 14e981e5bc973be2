#pragma once

#include <array>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/clip.h"
#include "models/llama.h"
#include "nn/projector.h"
#include "weights/load.h"

namespace kuea {

/** Stands for one patch of an image among token ids; and among labels for none. As in LLaVA, and in lib/text/vicuna.ts. */
inline constexpr int64_t image_token = -200, ignored_label = -100;

/** LlavaSpec in lib/native/llava.ts. */
struct LlavaSpec {
  struct Lora {
    LoraShape shape;
    std::optional<std::vector<LoadStep>> weights;
    uint64_t seed;
  };

  ClipVisionArch vision;
  std::array<double, 3> mean, std;
  bool ln_post;
  LlamaArch llama;
  std::vector<LoadStep> weights;
  BasePrecision base;
  at::ScalarType compute;
  std::optional<Lora> lora;
  at::Device device = at::kCPU;
};

/** LLaVA-1.5 (Liu et al. 2023): CLIP's patch tokens, through a projector, among a LLaMA's token embeddings. Under NoGradGuard alone. */
class Llava {
 public:
  /** Loads the weights. Throws Error `bad_plan`, `bad_tensor` or `unreadable_file`. */
  Llava(const LlavaSpec& spec, bool train_lora, bool train_projector, int64_t ranks = 1);
  Llava(const Llava&) = delete;
  Llava& operator=(const Llava&) = delete;

  /**
   * pixels [n, 3, s, s] on any device, uint8, or fp32 taken as normalised -> patch tokens [n * patches, vision width] in the dtype of the
   * arithmetic.
   */
  at::Tensor features(const at::Tensor& pixels) const;

  /** ids int64 [tokens]; where they are image_token, in order, come rows `image_rows` (int64) of `projected` -> [tokens, width]. */
  at::Tensor embed(const at::Tensor& ids, const at::Tensor& projected, const at::Tensor& image_rows) const;

  FlatParameters& lora() { return lora_; }
  FlatParameters& projector_parameters() { return projector_parameters_; }
  const Projector& projector() const { return projector_; }
  const Llama& llama() const { return llama_; }
  const LlavaSpec& spec() const { return spec_; }

 private:
  // Declared in the order in which they are made: the plan is used up on the way.
  LlavaSpec spec_;
  FrozenWeights weights_;
  FlatParameters lora_, projector_parameters_;
  ClipFeatures vision_;
  Projector projector_;
  Llama llama_;
  at::Tensor mean_, std_;
};

/** Where ids are image_token, int64. */
at::Tensor image_positions(const at::Tensor& ids);

}  // namespace kuea
