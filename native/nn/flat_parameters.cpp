#include "nn/flat_parameters.h"

#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/accumulate.h>

namespace kuea {

FlatParameter& FlatParameters::add(std::string name, std::vector<int64_t> shape) {
  numel_ += c10::multiply_integers(shape);
  list_.push_back({std::move(name), std::move(shape), {}, {}, {}});
  return list_.back();
}

void FlatParameters::allocate(at::ScalarType compute, at::Device device, bool trained, int64_t parts) {
  const auto options = at::TensorOptions().device(device);
  const auto length = (numel_ + parts - 1) / parts * parts;
  if (trained) {
    value_ = at::zeros({length}, options.dtype(at::kFloat));
    grad_ = at::zeros({length}, options.dtype(at::kFloat));
  }
  compute_ = trained && compute == at::kFloat ? value_ : at::empty({length}, options.dtype(compute));
  const auto assign = [&](const at::Tensor& flat, at::Tensor FlatParameter::* member) {
    const auto parts = views(flat);
    for (size_t i = 0; i < parts.size(); ++i) list_[i].*member = parts[i].value;
  };
  assign(value_, &FlatParameter::value);
  assign(grad_, &FlatParameter::grad);
  assign(compute_, &FlatParameter::compute);
}

void FlatParameters::refresh() {
  if (value_.defined() && !compute_.is_same(value_)) compute_.copy_(value_);
}

std::vector<Parameter> FlatParameters::all() const { return views(value_.defined() ? value_ : compute_); }

std::vector<Parameter> FlatParameters::views(const at::Tensor& flat) const {
  std::vector<Parameter> parts;
  if (!flat.defined()) return parts;
  int64_t first = 0;
  for (const auto& parameter : list_) {
    const auto count = c10::multiply_integers(parameter.shape);
    parts.push_back({parameter.name, flat.narrow(0, first, count).view(parameter.shape)});
    first += count;
  }
  return parts;
}

}  // namespace kuea
