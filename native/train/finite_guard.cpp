#include "train/finite_guard.h"

#include <cmath>

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

FiniteGuard::FiniteGuard(at::Device device) : first_(at::zeros({5}, at::TensorOptions().dtype(at::kDouble).device(device))) {}

void FiniteGuard::watch(const at::Tensor& terms, const std::optional<at::Tensor>& norm, int64_t step) {
  at::NoGradGuard no_grad;
  const auto number = [&](double value) { return at::full({1}, value, first_.options()); };
  const auto now = at::cat({number(static_cast<double>(step)), terms.narrow(0, 0, 3), norm ? norm->reshape({1}) : number(0)});
  const auto finite = at::isfinite(now.narrow(0, 1, 1)).logical_and(at::isfinite(now.narrow(0, 4, 1)));
  first_ = at::where((first_.narrow(0, 0, 1) == 0).logical_and(finite.logical_not()), now, first_);
}

at::Tensor FiniteGuard::found_inf() const { return (first_.narrow(0, 0, 1) != 0).to(at::kFloat); }

void FiniteGuard::check(int64_t step) {
  const auto host = first_.to(at::kCPU);
  const auto* value = host.const_data_ptr<double>();
  const auto found = static_cast<int64_t>(value[0]);
  if (found == 0) return;
  first_ = at::zeros_like(first_);
  const std::string gradient = std::isfinite(value[1]) ? ", and its gradient's norm " + std::to_string(value[4]) : "";
  throw Error("non_finite", "the loss " + (found == step ? "" : "of step " + std::to_string(found) + " ") + "is " +
                                std::to_string(value[1]) + " (kernel " + std::to_string(value[2]) + ", anchor " + std::to_string(value[3]) +
                                ")" + gradient);
}

}  // namespace kuea
