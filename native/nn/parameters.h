#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace kuea {

/** A parameter under its upstream name. */
struct Parameter {
  std::string name;
  at::Tensor value;
};

/** All parameters of a model, in the order in which its modules were made. */
class Parameters {
 public:
  /**
   * `linear` is the dtype of linear maps' weights: fp32 masters for training, the dtype of the arithmetic for a model that stays frozen.
   */
  explicit Parameters(at::Device device = at::kCPU, at::ScalarType linear = at::kFloat) : device_(device), linear_(linear) {}

  /** A new fp32 parameter of this shape; its values are set by load_tensors (weights/load.h). */
  at::Tensor add(std::string name, at::IntArrayRef shape) { return add(std::move(name), shape, at::kFloat); }

  /** The same for a linear map. */
  at::Tensor add_linear(std::string name, at::IntArrayRef shape) { return add(std::move(name), shape, linear_); }

  /** Makes every parameter a leaf that requires a gradient, or none. */
  void requires_grad(bool yes);

  const std::vector<Parameter>& all() const { return list_; }

 private:
  at::Tensor add(std::string name, at::IntArrayRef shape, at::ScalarType dtype);

  at::Device device_;
  at::ScalarType linear_;
  std::vector<Parameter> list_;
};

}  // namespace kuea
