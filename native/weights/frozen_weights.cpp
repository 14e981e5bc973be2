#include "weights/frozen_weights.h"

#include <sstream>

#include <ATen/ops/empty.h>

#include "runtime/error.h"

namespace kuea {
namespace {

at::ScalarType dtype_of(BasePrecision precision) {
  switch (precision) {
    case BasePrecision::fp32:
      return at::kFloat;
    case BasePrecision::fp16:
      return at::kHalf;
    default:
      return at::kBFloat16;
  }
}

}  // namespace

FrozenWeights::FrozenWeights(const std::vector<LoadStep>& plan, BasePrecision precision, at::Device device)
    : precision_(precision), device_(device) {
  for (const auto& step : plan) steps_[step.parameter].push_back(step);
}

at::Tensor FrozenWeights::stored(const std::string& name, at::IntArrayRef shape) {
  const auto found = steps_.find(name);
  if (found == steps_.end()) throw Error("bad_plan", "these parameters were not set, or not wholly: " + name);
  const auto& steps = found->second;
  if (steps.size() == 1 && steps[0].row < 0) {
    auto tensor = reader_.view(steps[0].source);
    if (tensor.sizes() == shape) return tensor;
    std::ostringstream why;
    why << "cannot load " << name << " from " << steps[0].source.file << ": expected shape " << shape << ", found " << tensor.sizes();
    throw Error("bad_plan", why.str());
  }
  auto whole = at::empty(shape, at::TensorOptions().dtype(steps[0].source.dtype));
  load_tensors({{name, whole}}, steps);
  return whole;
}

void FrozenWeights::release(const std::string& name) {
  for (const auto& step : steps_.at(name)) reader_.release(step.source);
  steps_.erase(name);
}

FrozenMatrix FrozenWeights::linear(const std::string& name, int64_t out, int64_t in) {
  if (precision_ != BasePrecision::nf4 || out * in % 64 != 0) return FrozenMatrix(tensor(name, {out, in}));
  auto packed = nf4_quantize(stored(name, {out, in}), device_);
  release(name);
  return FrozenMatrix(std::move(packed));
}

at::Tensor FrozenWeights::tensor(const std::string& name, at::IntArrayRef shape) { return tensor(name, shape, dtype_of(precision_)); }

at::Tensor FrozenWeights::tensor(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) {
  const auto source = stored(name, shape);
  auto kept = source.to(device_, dtype).contiguous();
  if (kept.is_same(source))
    steps_.erase(name);
  else
    release(name);
  return kept;
}

std::vector<LoadStep> FrozenWeights::take(const std::string& prefix) {
  std::vector<LoadStep> taken;
  for (auto step = steps_.lower_bound(prefix); step != steps_.end() && step->first.starts_with(prefix); step = steps_.erase(step)) {
    taken.insert(taken.end(), step->second.begin(), step->second.end());
  }
  return taken;
}

void FrozenWeights::finish() {
  reader_ = {};
  if (steps_.empty()) return;
  const auto& step = steps_.begin()->second.front();
  throw Error("bad_plan", "cannot load " + step.parameter + " from " + step.source.file + ": the model has no such parameter");
}

}  // namespace kuea
