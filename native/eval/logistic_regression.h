#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "eval/features.h"
#include "eval/lbfgs.h"

namespace kuea {

/** A linear classifier: logits W x + b. */
struct LinearSolution {
  /** W, row-major [classes, width]. */
  std::vector<double> weight;
  std::vector<double> bias;
};

/**
 * Multinomial logistic regression by L-BFGS in float64: the mean cross-entropy of softmax(W x + b) plus l2 / 2 |W|^2, the bias free.
 * Starts from zero; the same numbers whatever the number of threads. On the CPU.
 *
 * The iterations move the bias at the features' mean rather than at the origin: the same problem, and far better conditioned, as
 * embeddings have a large mean in common.
 */
class LogisticRegression {
 public:
  /**
   * The features' memory must live as long as this; a label is one of 0 to classes - 1. Throws Error `non_finite`, and `bad_label` naming
   * the row of a label that is no class.
   */
  LogisticRegression(Features features, std::vector<int64_t> labels, int64_t classes, double l2, size_t history);

  Lbfgs& solver() { return *solver_; }
  LinearSolution solution() const;

 private:
  double evaluate(const std::vector<double>& x, std::vector<double>& gradient);
  /** Cross-entropy summed over rows [begin, end); adds its gradient by W x and by b to `gradient` [classes, width + 1]. */
  double evaluate_rows(int64_t begin, int64_t end, const double* weight, const std::vector<double>& bias, double* by_weight,
                       double* by_bias) const;
  /** What is to be added to the bias at the mean to have the one at the origin: -W mean. */
  std::vector<double> offset(const std::vector<double>& x) const;

  Features features_;
  std::vector<float> divisors_;
  std::vector<int64_t> labels_;
  int64_t classes_;
  double l2_;
  std::vector<double> mean_;
  /** Rows are summed in so many parts, and those in order: the sums do not depend on the threads. */
  int64_t parts_;
  /** Rows that are taken at once. */
  int64_t tile_;
  std::unique_ptr<Lbfgs> solver_;
};

}  // namespace kuea
