#pragma once

#include <string>
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
  explicit Parameters(at::Device device = at::kCPU) : device_(device) {}

  /** A new fp32 parameter of this shape; its values are set by load_tensors (weights/load.h). */
  at::Tensor add(std::string name, at::IntArrayRef shape);

  /** Makes every parameter a leaf that requires a gradient, or none. */
  void requires_grad(bool yes);

  const std::vector<Parameter>& all() const { return list_; }

 private:
  at::Device device_;
  std::vector<Parameter> list_;
};

}  // namespace kuea
