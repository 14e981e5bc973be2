#include "ops/alignment/alignment.h"

#include <ATen/ops/full.h>

namespace kuea {

KernelParams kernel_params(const KernelSpec& spec, at::Device device, bool trained) {
  const auto scalar = [&](double value) {
    return at::full({}, value, at::TensorOptions().dtype(at::kFloat).device(device)).requires_grad_(trained);
  };
  return {spec.kind, scalar(spec.gamma), scalar(spec.c), scalar(spec.sigma), spec.sigma_teacher};
}

at::Tensor kernel_alignment(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
#ifdef KUEA_CUDA
  if (x.is_cuda()) return kernel_alignment_cuda(x, y, p, all);
#endif
  return kernel_alignment_tiled(x, y, p, all);
}

}  // namespace kuea
