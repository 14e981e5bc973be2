#include "nn/linear.h"

#include <ATen/core/grad_mode.h>

#include "ops/linear.h"

namespace kuea {

Linear::Linear(Parameters& parameters, const std::string& weight_name, const std::string& bias_name, int64_t in, int64_t out,
               at::ScalarType compute)
    : compute_(compute), weight_(parameters.add_linear(weight_name, {out, in})) {
  if (!bias_name.empty()) bias_ = parameters.add_linear(bias_name, {out});
}

void Linear::refresh() const {
  if (weight_.scalar_type() == compute_) {
    weight_compute_ = weight_.detach();
    if (bias_.defined()) bias_compute_ = bias_.detach();
    return;
  }
  const auto version = static_cast<int64_t>(weight_._version());
  if (version_ == version) return;
  at::NoGradGuard no_grad;
  weight_compute_ = weight_.to(compute_);
  if (bias_.defined()) bias_compute_ = bias_.to(compute_);
  version_ = version;
}

at::Tensor Linear::rows(const at::Tensor& x, int64_t start, int64_t count) const {
  refresh();
  if (start == 0 && count == weight_.size(0)) return linear(x, weight_, bias_, weight_compute_, bias_compute_);
  const auto part = [&](const at::Tensor& t) { return t.defined() ? t.narrow(0, start, count) : t; };
  return linear(x, part(weight_), part(bias_), part(weight_compute_), part(bias_compute_));
}

}  // namespace kuea
