#include "eval/logistic_regression.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <ATen/Parallel.h>

#include "kernels/softmax_regression.h"
#include "kernels/top_k.h"
#include "runtime/error.h"

namespace kuea {
namespace {

/** What the parts' gradients may take together, and a tile of features in fp64, in bytes. */
constexpr int64_t gradient_bytes = 64 << 20, tile_bytes = 128 << 10;

/** Logits of one row become probabilities; returns its cross-entropy. */
double softmax(double* row, int64_t classes, int64_t label) {
  const double most = *std::max_element(row, row + classes);
  const double own = row[label] - most;
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += row[c] = std::exp(row[c] - most);
  for (int64_t c = 0; c < classes; ++c) row[c] /= sum;
  return std::log(sum) - own;
}

}  // namespace

LogisticRegression::LogisticRegression(Features features, std::vector<int64_t> labels, int64_t classes, double l2, size_t history)
    : features_(std::move(features)),
      divisors_(divisors(features_)),
      labels_(std::move(labels)),
      classes_(classes),
      l2_(l2),
      mean_(static_cast<size_t>(features_.width)) {
  const int64_t n = features_.rows, d = features_.width;
  check_labels(labels_, classes);
  tile_ = std::clamp<int64_t>(tile_bytes / (d * 8) / 4 * 4, 16, 512);
  const int64_t one_gradient = classes * (d + 1) * 8;
  parts_ = std::clamp<int64_t>(std::min(gradient_bytes / one_gradient, n / tile_), 1, 32);

  std::vector<double> row(static_cast<size_t>(d));
  for (int64_t i = 0; i < n; ++i) {
    kernels::divide_rows(features_.data + i * d, divisors_.data() + i, 1, d, row.data());
    for (size_t k = 0; k < row.size(); ++k) mean_[k] += row[k];
  }
  for (auto& value : mean_) value /= static_cast<double>(n);
  solver_ = std::make_unique<Lbfgs>([this](const auto& x, auto& gradient) { return evaluate(x, gradient); },
                                    std::vector<double>(static_cast<size_t>(classes * (d + 1))), history);
}

std::vector<double> LogisticRegression::offset(const std::vector<double>& x) const {
  std::vector<double> out;
  for (int64_t c = 0; c < classes_; ++c) {
    double sum = 0;
    for (size_t k = 0; k < mean_.size(); ++k) sum -= x[static_cast<size_t>(c) * mean_.size() + k] * mean_[k];
    out.push_back(sum);
  }
  return out;
}

double LogisticRegression::evaluate_rows(int64_t begin, int64_t end, const double* weight, const std::vector<double>& bias,
                                         double* by_weight, double* by_bias) const {
  const int64_t d = features_.width;
  std::vector<double> rows(static_cast<size_t>(tile_ * d)), logits(static_cast<size_t>(tile_ * classes_));
  double loss = 0;
  for (int64_t first = begin; first < end; first += tile_) {
    const int64_t count = std::min(tile_, end - first);
    kernels::divide_rows(features_.data + first * d, divisors_.data() + first, count, d, rows.data());
    kernels::regression_logits(rows.data(), weight, count, d, classes_, logits.data());
    double* row = logits.data();
    for (int64_t i = 0; i < count; ++i, row += classes_) {
      for (int64_t c = 0; c < classes_; ++c) row[c] += bias[static_cast<size_t>(c)];
      const int64_t label = labels_[static_cast<size_t>(first + i)];
      loss += softmax(row, classes_, label);
      row[label] -= 1;
      for (int64_t c = 0; c < classes_; ++c) by_bias[c] += row[c];
    }
    kernels::regression_gradient(logits.data(), rows.data(), count, d, classes_, by_weight);
  }
  return loss;
}

double LogisticRegression::evaluate(const std::vector<double>& x, std::vector<double>& gradient) {
  const int64_t n = features_.rows, d = features_.width, weights = classes_ * d, size = weights + classes_;
  auto bias = offset(x);
  for (int64_t c = 0; c < classes_; ++c) bias[static_cast<size_t>(c)] += x[static_cast<size_t>(weights + c)];

  std::vector<double> losses(static_cast<size_t>(parts_)), sums(static_cast<size_t>(parts_ * size));
  at::parallel_for(0, parts_, 1, [&](int64_t from, int64_t to) {
    for (int64_t part = from; part < to; ++part) {
      double* sum = sums.data() + part * size;
      losses[static_cast<size_t>(part)] = evaluate_rows(part * n / parts_, (part + 1) * n / parts_, x.data(), bias, sum, sum + weights);
    }
  });
  double value = 0;
  for (const double loss : losses) value += loss;
  value /= static_cast<double>(n);
  std::fill(gradient.begin(), gradient.end(), 0);
  for (int64_t part = 0; part < parts_; ++part)
    for (int64_t i = 0; i < size; ++i) gradient[static_cast<size_t>(i)] += sums[static_cast<size_t>(part * size + i)];
  for (int64_t c = 0; c < classes_; ++c) {
    const double by_bias = gradient[static_cast<size_t>(weights + c)];
    gradient[static_cast<size_t>(weights + c)] = by_bias / static_cast<double>(n);
    for (int64_t k = 0; k < d; ++k) {
      const auto i = static_cast<size_t>(c * d + k);
      gradient[i] = (gradient[i] - by_bias * mean_[static_cast<size_t>(k)]) / static_cast<double>(n) + l2_ * x[i];
      value += l2_ / 2 * x[i] * x[i];
    }
  }
  return value;
}

LinearSolution LogisticRegression::solution() const {
  const auto& x = solver_->x();
  const auto weights = static_cast<std::ptrdiff_t>(classes_ * features_.width);
  LinearSolution out{{x.begin(), x.begin() + weights}, offset(x)};
  for (size_t c = 0; c < out.bias.size(); ++c) out.bias[c] += x[static_cast<size_t>(weights) + c];
  return out;
}

}  // namespace kuea
