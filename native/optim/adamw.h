#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/parameters.h"

namespace kuea {

/**
 * AdamW (Loshchilov and Hutter 2019) through libtorch's fused kernel: p *= 1 - lr * wd; p -= lr * m_hat / (sqrt(v_hat) + eps), moments in
 * fp32.
 */
class AdamW {
 public:
  struct Options {
    double beta1, beta2, eps;
  };

  explicit AdamW(Options options) : options_(options) {}

  /** Parameters that share a decay; moments start at 0. */
  void add_group(const std::vector<Parameter>& parameters, double weight_decay);

  /**
   * One update from the parameters' .grad; one without a gradient stays as it is. Where `found_inf` (fp32 [1]) is 1 nothing is changed but
   * the count.
   */
  void step(double lr, const std::optional<at::Tensor>& found_inf);

  /** Updates made so far (the bias correction's exponent). */
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps);

  /** The moments under their parameters' names. */
  std::vector<Parameter> exp_avg() const;
  std::vector<Parameter> exp_avg_sq() const;

 private:
  struct State {
    std::string name;
    at::Tensor parameter, exp_avg, exp_avg_sq;
  };
  struct Group {
    double weight_decay;
    std::vector<State> states;
  };

  Options options_;
  std::vector<Group> groups_;
  int64_t steps_ = 0;
  // The same number where the fused kernel reads it, fp32 [], shared by all parameters.
  at::Tensor step_;
};

}  // namespace kuea
