#include "train/finite_guard.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "runtime/error.h"

namespace kuea {

FiniteGuard::FiniteGuard(at::Device device) : first_(at::zeros({4}, at::TensorOptions().dtype(at::kDouble).device(device))) {}

void FiniteGuard::watch(const at::Tensor& terms, int64_t step) {
  at::NoGradGuard no_grad;
  const auto now = at::cat({at::full({1}, static_cast<double>(step), first_.options()), terms.narrow(0, 0, 3)});
  const auto loss = terms.narrow(0, 0, 1);
  first_ = at::where((first_.narrow(0, 0, 1) == 0).logical_and(at::isfinite(loss).logical_not()), now, first_);
}

at::Tensor FiniteGuard::found_inf() const { return (first_.narrow(0, 0, 1) != 0).to(at::kFloat); }

void FiniteGuard::check(int64_t step) {
  const auto host = first_.to(at::kCPU);
  const auto* value = host.const_data_ptr<double>();
  const auto found = static_cast<int64_t>(value[0]);
  if (found == 0) return;
  first_ = at::zeros_like(first_);
  throw Error("non_finite", "the loss " + (found == step ? "" : "of step " + std::to_string(found) + " ") + "is " +
                                std::to_string(value[1]) + " (kernel " + std::to_string(value[2]) + ", anchor " + std::to_string(value[3]) +
                                ")");
}

}  // namespace kuea
