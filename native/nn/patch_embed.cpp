#include "nn/patch_embed.h"

#include "ops/linear.h"

namespace kuea {

PatchEmbed::PatchEmbed(Parameters& parameters, const std::string& weight_name, const std::string& bias_name, int64_t width, int64_t patch,
                       at::ScalarType compute)
    : compute_(compute), patch_(patch), weight_(parameters.add(weight_name, {width, 3, patch, patch})) {
  if (!bias_name.empty()) bias_ = parameters.add(bias_name, {width});
}

at::Tensor PatchEmbed::operator()(const at::Tensor& pixels) const {
  const auto n = pixels.size(0), rows = pixels.size(2) / patch_, columns = pixels.size(3) / patch_;
  // [n, 3, rows, p, columns, p] -> [n, rows * columns, 3 * p * p], the order of the convolution's weight.
  const auto patches = pixels.view({n, 3, rows, patch_, columns, patch_})
                           .permute({0, 2, 4, 1, 3, 5})
                           .to(compute_)
                           .reshape({n, rows * columns, 3 * patch_ * patch_});
  const auto weight = weight_.flatten(1);
  const auto bias = bias_.defined() ? bias_.detach().to(compute_) : bias_;
  return linear(patches, weight, bias_, weight.detach().to(compute_), bias);
}

}  // namespace kuea
