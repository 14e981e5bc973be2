#include "optim/flat_adamw.h"

#include <utility>

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

namespace kuea {

FlatAdamW::FlatAdamW(at::Tensor value, at::Tensor grad, AdamW::Options options, double weight_decay, int64_t decayed)
    : value_(std::move(value)),
      grad_(std::move(grad)),
      exp_avg_(at::zeros_like(value_)),
      exp_avg_sq_(at::zeros_like(value_)),
      options_(options),
      weight_decay_(weight_decay),
      decayed_(decayed) {}

void FlatAdamW::step(double lr) {
  ++steps_;
  const auto range = [&](int64_t begin, int64_t end, double weight_decay) {
    if (begin == end) return;
    const auto part = [&](const at::Tensor& flat) { return std::vector<at::Tensor>{flat.narrow(0, begin, end - begin)}; };
    const std::vector<at::Tensor> steps{at::full({}, static_cast<double>(steps_), value_.options())};
    at::_fused_adamw_(part(value_), part(grad_), part(exp_avg_), part(exp_avg_sq_), {}, steps, lr, options_.beta1, options_.beta2,
                      weight_decay, options_.eps, false, false);
  };
  range(0, decayed_, weight_decay_);
  range(decayed_, value_.size(0), 0);
}

}  // namespace kuea
