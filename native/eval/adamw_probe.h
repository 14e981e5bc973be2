#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "eval/features.h"
#include "eval/logistic_regression.h"
#include "optim/adamw.h"

namespace kuea {

/** A linear classifier trained by AdamW (torch's defaults but for the decay, which the bias has too), in fp32 on the CPU. */
class AdamWProbe {
 public:
  /**
   * The features' memory must live as long as this. `weight` [classes, width] and `bias` [classes] are where it starts. Throws Error
   * `non_finite` and `bad_label`, as LogisticRegression.
   */
  AdamWProbe(Features features, std::vector<int64_t> labels, int64_t classes, const std::vector<float>& weight,
             const std::vector<float>& bias, double weight_decay);

  /** A step a learning rate, each on the next `batch` of the rows in `order`; returns the mean of the batches' losses. */
  double steps(const std::vector<uint32_t>& order, int64_t batch, const std::vector<double>& learning_rates);

  LinearSolution solution() const;

 private:
  double step(const uint32_t* rows, int64_t count, double learning_rate);

  Features features_;
  std::vector<float> divisors_;
  std::vector<int64_t> labels_;
  at::Tensor weight_, bias_;
  AdamW optimizer_{{0.9, 0.999, 1e-8}};
};

}  // namespace kuea
