#include "ops/quick_gelu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/quick_gelu.h"

namespace kuea {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t grain = 1 << 15;

const kernels::Bf16* bits(const at::Tensor& t) { return static_cast<const kernels::Bf16*>(t.const_data_ptr()); }
kernels::Bf16* mutable_bits(const at::Tensor& t) { return static_cast<kernels::Bf16*>(t.mutable_data_ptr()); }

struct QuickGelu : torch::autograd::Function<QuickGelu> {
  static Variable forward(AutogradContext* ctx, const Variable& input) {
    const auto x = input.contiguous();
    ctx->save_for_backward({x});
    auto y = at::empty_like(x);
    const bool half = x.scalar_type() == at::kBFloat16;
    at::parallel_for(0, x.numel(), grain, [&](int64_t begin, int64_t end) {
      if (half)
        kernels::quick_gelu(bits(x) + begin, mutable_bits(y) + begin, end - begin);
      else
        kernels::quick_gelu(x.const_data_ptr<float>() + begin, y.mutable_data_ptr<float>() + begin, end - begin);
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto x = ctx->get_saved_variables()[0];
    const auto g = grads[0].contiguous();
    auto dx = at::empty_like(x);
    const bool half = x.scalar_type() == at::kBFloat16;
    at::parallel_for(0, x.numel(), grain, [&](int64_t begin, int64_t end) {
      if (half)
        kernels::quick_gelu_backward(bits(x) + begin, bits(g) + begin, mutable_bits(dx) + begin, end - begin);
      else
        kernels::quick_gelu_backward(x.const_data_ptr<float>() + begin, g.const_data_ptr<float>() + begin,
                                     dx.mutable_data_ptr<float>() + begin, end - begin);
    });
    return {dx};
  }
};

}  // namespace

at::Tensor quick_gelu(const at::Tensor& x) { return x.is_cpu() ? QuickGelu::apply(x) : x * at::sigmoid(x * 1.702); }

}  // namespace kuea
