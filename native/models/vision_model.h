#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "models/arch.h"
#include "nn/parameters.h"

namespace kuea {

/** An image encoder with one embedding an image: CLIP's projected CLS, or DINOv2's normed CLS. */
class VisionModel {
 public:
  virtual ~VisionModel() = default;

  /**
   * pixels fp32 [n, 3, s, s], normalised -> fp32 [n, dim], un-normalised. Builds a graph when grad mode is on and parameters require
   * gradients; `checkpointing` trades a second forward of each block for its activations.
   */
  virtual at::Tensor embed(const at::Tensor& pixels, bool checkpointing) const = 0;

  virtual int64_t dim() const = 0;

  /** Throws Error `bad_image_size` when images of this side do not fit the model. */
  virtual void check_size(int64_t size) const = 0;

  const Parameters& parameters() const { return parameters_; }
  Parameters& parameters() { return parameters_; }

 protected:
  explicit VisionModel(at::Device device) : parameters_(device) {}
  Parameters parameters_;
};

/** A model of this shape whose parameters are not set yet. `compute` is kFloat or kBFloat16; master weights are fp32 in both. */
std::unique_ptr<VisionModel> make_model(const Arch& arch, at::ScalarType compute, at::Device device);

}  // namespace kuea
