#include "models/vision_model.h"

#include "models/clip.h"
#include "models/dinov2.h"

namespace kuea {

std::unique_ptr<VisionModel> make_model(const Arch& arch, at::ScalarType compute, at::Device device) {
  std::visit([](const auto& shape) { check_arch(shape); }, arch);
  if (const auto* clip = std::get_if<ClipVisionArch>(&arch)) return std::make_unique<ClipVision>(*clip, compute, device);
  return std::make_unique<Dinov2>(std::get<Dinov2Arch>(arch), compute, device);
}

}  // namespace kuea
