#include "weights/load.h"

#include <map>
#include <sstream>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/copy.h>

#include "runtime/error.h"

namespace kuea {
namespace {

std::string text(at::IntArrayRef shape) {
  std::ostringstream out;
  out << shape;
  return out.str();
}

[[noreturn]] void fail(const LoadStep& step, const std::string& why) {
  throw Error("bad_plan", "cannot load " + step.parameter + " from " + step.source.file + ": " + why);
}

}  // namespace

void load_tensors(const std::vector<Parameter>& parameters, const std::vector<LoadStep>& plan) {
  at::NoGradGuard no_grad;
  std::map<std::string, const Parameter*> by_name;
  for (const auto& parameter : parameters) by_name[parameter.name] = &parameter;
  // Rows of each parameter that are set; one flag for a parameter without rows.
  std::map<std::string, std::vector<bool>> set;
  const auto rows = [](const at::Tensor& t) { return t.dim() == 0 ? 1 : t.size(0); };
  for (const auto& parameter : parameters) set[parameter.name].resize(static_cast<size_t>(rows(parameter.value)));

  TensorReader reader;
  for (const auto& step : plan) {
    const auto found = by_name.find(step.parameter);
    if (found == by_name.end()) fail(step, "the model has no such parameter");
    const auto source = reader.view(step.source);
    auto target = found->second->value;
    const int64_t first = step.row < 0 ? 0 : step.row;
    const int64_t count = step.row < 0 ? rows(target) : rows(source);
    if (first + count > rows(target))
      fail(step, "rows " + std::to_string(first) + " to " + std::to_string(first + count) + " of " + text(target.sizes()));
    if (step.row >= 0) target = target.narrow(0, first, count);
    if (target.sizes() != source.sizes()) fail(step, "expected shape " + text(target.sizes()) + ", found " + text(source.sizes()));
    auto& flags = set[step.parameter];
    for (int64_t i = first; i < first + count; ++i) {
      if (flags[static_cast<size_t>(i)]) fail(step, "row " + std::to_string(i) + " is set twice");
      flags[static_cast<size_t>(i)] = true;
    }
    target.copy_(source);
    reader.release(step.source);
  }

  std::string missing;
  for (const auto& [name, flags] : set) {
    if (std::find(flags.begin(), flags.end(), false) != flags.end()) missing += (missing.empty() ? "" : ", ") + name;
  }
  if (!missing.empty()) throw Error("bad_plan", "these parameters were not set, or not wholly: " + missing);
}

}  // namespace kuea
