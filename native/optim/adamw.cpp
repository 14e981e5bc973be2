#include "optim/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/fill.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/variable.h>

namespace kuea {

void AdamW::add_group(const std::vector<Parameter>& parameters, double weight_decay) {
  Group group{weight_decay, {}};
  for (const auto& [name, value] : parameters) {
    group.states.push_back({name, value, at::zeros_like(value, at::TensorOptions().requires_grad(false)),
                            at::zeros_like(value, at::TensorOptions().requires_grad(false))});
    if (!step_.defined()) step_ = at::zeros({}, value.options().requires_grad(false));
  }
  groups_.push_back(std::move(group));
}

void AdamW::set_steps(int64_t steps) {
  steps_ = steps;
  step_.fill_(static_cast<double>(steps));
}

void AdamW::step(double lr, const std::optional<at::Tensor>& found_inf) {
  at::NoGradGuard no_grad;
  set_steps(steps_ + 1);
  for (auto& group : groups_) {
    std::vector<at::Tensor> parameters, grads, exp_avgs, exp_avg_sqs;
    for (auto& state : group.states) {
      if (!state.parameter.grad().defined()) continue;
      parameters.push_back(state.parameter);
      grads.push_back(state.parameter.grad());
      exp_avgs.push_back(state.exp_avg);
      exp_avg_sqs.push_back(state.exp_avg_sq);
    }
    if (parameters.empty()) continue;
    const std::vector<at::Tensor> steps(parameters.size(), step_);
    at::_fused_adamw_(parameters, grads, exp_avgs, exp_avg_sqs, {}, steps, lr, options_.beta1, options_.beta2, group.weight_decay,
                      options_.eps, false, false, {}, found_inf);
    // The fused kernel does not move the version counters by which modules know that their copies are old.
    for (const auto& parameter : parameters) torch::autograd::impl::bump_version(parameter);
  }
}

std::vector<Parameter> AdamW::exp_avg() const {
  std::vector<Parameter> list;
  for (const auto& group : groups_) {
    for (const auto& state : group.states) list.push_back({state.name, state.exp_avg});
  }
  return list;
}

std::vector<Parameter> AdamW::exp_avg_sq() const {
  std::vector<Parameter> list;
  for (const auto& group : groups_) {
    for (const auto& state : group.states) list.push_back({state.name, state.exp_avg_sq});
  }
  return list;
}

}  // namespace kuea
