#include "ops/linear.h"

#include <optional>

#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/autograd/custom_function.h>

namespace kuea {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

struct Linear : torch::autograd::Function<Linear> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& weight, const std::optional<Variable>& bias,
                          const at::Tensor& weight_compute, const std::optional<at::Tensor>& bias_compute) {
    ctx->saved_data["bias"] = bias.has_value();
    ctx->save_for_backward({x, weight_compute});
    return at::linear(x, weight_compute, bias_compute);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto g = grads[0].reshape({-1, weight.size(0)});
    variable_list out(5);
    if (ctx->needs_input_grad(0)) out[0] = at::mm(g, weight).view(x.sizes());
    if (ctx->needs_input_grad(1)) out[1] = at::mm(g.t(), x.reshape({-1, weight.size(1)})).to(at::kFloat);
    if (ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2)) out[2] = at::sum(g, {0}, false, at::kFloat);
    return out;
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& weight_compute,
                  const at::Tensor& bias_compute) {
  // The graph's inputs may not be undefined tensors.
  const auto given = [](const at::Tensor& t) { return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt; };
  return Linear::apply(x, weight, given(bias), weight_compute, given(bias_compute));
}

}  // namespace kuea
