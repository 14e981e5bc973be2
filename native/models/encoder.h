#pragma once

#include <array>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/vision_model.h"
#include "weights/load.h"

namespace kuea {

/** What an encoder is made of; EncoderSpec in lib/native/addon.ts. */
struct EncoderSpec {
  Arch arch;
  std::vector<LoadStep> weights;
  std::array<double, 3> mean, std;
};

/** Statistics as fp32 [1, 3, 1, 1]. */
at::Tensor channels(const std::array<double, 3>& values, at::Device device);

/** A vision model with its weights and the statistics that its pixels are normalised with. */
class Encoder {
 public:
  /** Loads the weights; parameters require no gradient. Throws Error `bad_plan`, `bad_tensor` or `unreadable_file`. */
  Encoder(const EncoderSpec& spec, at::ScalarType compute, at::Device device);

  /**
   * pixels uint8 [n, 3, s, s] on any device -> fp32 [n, dim]. When `size` differs from s the images are first resized in [0, 1] by
   * antialiased bicubic without clamping, which is what the published run does to a 336 pixel crop for its 224 pixel teacher.
   */
  at::Tensor embed(const at::Tensor& pixels, int64_t size, bool checkpointing = false) const;

  VisionModel& model() { return *model_; }
  const VisionModel& model() const { return *model_; }

 private:
  std::unique_ptr<VisionModel> model_;
  at::Tensor mean_;
  at::Tensor std_;
};

}  // namespace kuea
