#include "ops/alignment/alignment.h"

namespace kuea {

at::Tensor kernel_alignment(const at::Tensor& x, const at::Tensor& y, const KernelParams& p, const std::optional<Gathered>& all) {
#ifdef KUEA_CUDA
  if (x.is_cuda()) return kernel_alignment_cuda(x, y, p, all);
#endif
  return kernel_alignment_tiled(x, y, p, all);
}

}  // namespace kuea
