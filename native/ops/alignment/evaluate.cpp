#include "ops/alignment/evaluate.h"

#include <chrono>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace kuea {

KernelLoss evaluate_kernel_loss(const at::Tensor& x, const at::Tensor& y, const KernelSpec& spec, KernelAlignment* alignment, bool gradient,
                                const std::optional<Gathered>& all, int64_t count) {
  const auto params = kernel_params(spec, x.device(), gradient);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  at::AutoGradMode mode(gradient);
  const auto leaf = (all ? x.narrow(0, all->begin, count) : x).detach().requires_grad_(gradient);
  const auto loss = alignment(leaf, y, params, all);
  if (!gradient) return {loss.item<double>(), 0, 0, 0, seconds(), {}};
  torch::autograd::backward({loss}, {});
  const auto grad = [](const at::Tensor& t) { return t.grad().defined() ? t.grad().item<double>() : 0; };
  return {loss.item<double>(), grad(params.gamma), grad(params.c), grad(params.sigma), seconds(), leaf.grad().to(at::kCPU)};
}

}  // namespace kuea
