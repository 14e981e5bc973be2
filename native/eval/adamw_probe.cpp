#include "eval/adamw_probe.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>

#include "kernels/top_k.h"
#include "runtime/error.h"

namespace kuea {
namespace {

at::Tensor copy(const std::vector<float>& values, at::IntArrayRef shape) {
  return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat).clone();
}

std::vector<double> doubles(const at::Tensor& t) {
  const float* data = t.const_data_ptr<float>();
  return {data, data + t.numel()};
}

}  // namespace

AdamWProbe::AdamWProbe(Features features, std::vector<int64_t> labels, int64_t classes, const std::vector<float>& weight,
                       const std::vector<float>& bias, double weight_decay)
    : features_(std::move(features)),
      divisors_(divisors(features_)),
      labels_(std::move(labels)),
      weight_(copy(weight, {classes, features_.width})),
      bias_(copy(bias, {classes})) {
  check_labels(labels_, classes);
  optimizer_.add_group({{"weight", weight_}, {"bias", bias_}}, weight_decay);
}

double AdamWProbe::step(const uint32_t* rows, int64_t count, double learning_rate) {
  const auto x = at::empty({count, features_.width});
  for (int64_t i = 0; i < count; ++i) {
    kernels::divide_rows(features_.data + rows[i] * features_.width, divisors_.data() + rows[i], 1, features_.width,
                         x.data_ptr<float>() + i * features_.width);
  }
  const auto log_probabilities = at::log_softmax(at::addmm(bias_, x, weight_.t()), 1);
  // dL/dlogits = (softmax - one hot) / count.
  auto gradient = log_probabilities.exp();
  double loss = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t place = i * bias_.size(0) + labels_[rows[i]];
    loss -= log_probabilities.const_data_ptr<float>()[place];
    gradient.data_ptr<float>()[place] -= 1;
  }
  gradient.div_(static_cast<double>(count));
  weight_.mutable_grad() = at::mm(gradient.t(), x);
  bias_.mutable_grad() = gradient.sum(0);
  optimizer_.step(learning_rate, std::nullopt);
  return loss / static_cast<double>(count);
}

double AdamWProbe::steps(const std::vector<uint32_t>& order, int64_t batch, const std::vector<double>& learning_rates) {
  at::NoGradGuard no_grad;
  double sum = 0;
  for (size_t i = 0; i < learning_rates.size(); ++i) {
    const auto first = static_cast<int64_t>(i) * batch;
    sum += step(order.data() + first, std::min(batch, static_cast<int64_t>(order.size()) - first), learning_rates[i]);
  }
  return sum / static_cast<double>(learning_rates.size());
}

LinearSolution AdamWProbe::solution() const { return {doubles(weight_), doubles(bias_)}; }

}  // namespace kuea
