#include <ATen/ops/full.h>

#include "ops/alignment/alignment.h"

namespace kuea {

KernelParams kernel_params(const KernelSpec& spec, at::Device device, bool trained) {
  const auto scalar = [&](double value) {
    return at::full({}, value, at::TensorOptions().dtype(at::kFloat).device(device)).requires_grad_(trained);
  };
  return {spec.kind, scalar(spec.gamma), scalar(spec.c), scalar(spec.sigma), spec.sigma_teacher};
}

}  // namespace kuea
