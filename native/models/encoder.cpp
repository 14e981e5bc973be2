#include "models/encoder.h"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/tensor.h>

namespace kuea {

at::Tensor channels(const std::array<double, 3>& values, at::Device device) {
  return at::tensor(at::ArrayRef<double>(values.data(), 3), at::kFloat).view({1, 3, 1, 1}).to(device);
}

Encoder::Encoder(const EncoderSpec& spec, at::ScalarType compute, at::Device device)
    : model_(make_model(spec.arch, compute, device)), mean_(channels(spec.mean, device)), std_(channels(spec.std, device)) {
  load_tensors(model_->parameters().all(), spec.weights);
}

at::Tensor Encoder::embed(const at::Tensor& pixels, int64_t size, bool checkpointing) const {
  model_->check_size(size);
  auto x = pixels.to(mean_.device()).to(at::kFloat).div_(255);
  if (x.size(2) != size) x = at::_upsample_bicubic2d_aa(x, {size, size}, false);
  return model_->embed(x.sub_(mean_).div_(std_), checkpointing);
}

}  // namespace kuea
