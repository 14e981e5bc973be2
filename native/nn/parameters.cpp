#include "nn/parameters.h"

#include <ATen/ops/empty.h>

namespace kuea {

at::Tensor Parameters::add(std::string name, at::IntArrayRef shape, at::ScalarType dtype) {
  auto value = at::empty(shape, at::TensorOptions().dtype(dtype).device(device_));
  list_.push_back({std::move(name), value});
  return value;
}

void Parameters::requires_grad(bool yes) {
  for (auto& parameter : list_) parameter.value.set_requires_grad(yes);
}

}  // namespace kuea
