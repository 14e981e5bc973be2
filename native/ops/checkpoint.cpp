#include "ops/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace kuea {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;
using Segment = std::function<at::Tensor(const at::Tensor&)>;

/** Lets the graph own the function, so that a graph that is dropped without a backward frees it. */
struct Holder : torch::CustomClassHolder {
  explicit Holder(Segment f) : f(std::move(f)) {}
  Segment f;
};

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Segment* f) {
    ctx->save_for_backward({x});
    ctx->saved_data["segment"] = at::IValue::make_capsule(c10::make_intrusive<Holder>(*f));
    return (*f)(x);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto holder = ctx->saved_data["segment"].toCapsule();
    const auto& f = static_cast<Holder*>(holder.get())->f;
    const auto x = ctx->get_saved_variables()[0].detach().requires_grad_();
    at::AutoGradMode with_grad(true);
    const auto y = f(x);
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), Variable()};
  }
};

}  // namespace

at::Tensor checkpoint(const Segment& f, const at::Tensor& x) { return at::GradMode::is_enabled() ? Checkpoint::apply(x, &f) : f(x); }

}  // namespace kuea
