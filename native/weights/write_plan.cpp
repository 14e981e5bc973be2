#include "weights/write_plan.h"

#include <ATen/ops/addmm.h>

#include "runtime/error.h"
#include "weights/write.h"

namespace kuea {
namespace {

at::Tensor from_source(TensorReader& reader, const WriteStep& step) {
  const auto source = reader.view(*step.source);
  if (!step.merge) return source.to(step.dtype);
  const auto& [a, b, scale] = *step.merge;
  const auto va = reader.view(a), vb = reader.view(b);
  if (source.dim() != 2 || va.dim() != 2 || vb.dim() != 2 || vb.size(0) != source.size(0) || va.size(1) != source.size(1) ||
      vb.size(1) != va.size(0)) {
    throw Error("bad_plan",
                "the shapes of " + a.file + "'s adapter do not fit the tensor of " + step.source->file + " that it is merged into");
  }
  return at::addmm(source.to(at::kFloat), vb.to(at::kFloat), va.to(at::kFloat), 1, scale).to(step.dtype);
}

}  // namespace

void write_plan(const std::string& path, std::span<const std::byte> header, const std::vector<WriteStep>& steps,
                const std::function<at::Tensor(const std::string&, const std::string&)>& find) {
  TensorReader reader;
  std::vector<std::function<at::Tensor()>> tensors;
  for (const auto& step : steps) {
    tensors.push_back([&reader, &step, &find]() -> at::Tensor {
      if (step.source) return from_source(reader, step);
      auto tensor = find(step.parameter, step.state).detach();
      if (step.rows) tensor = tensor.narrow(0, step.row, *step.rows);
      return (step.transpose ? tensor.t() : tensor).to(step.dtype);
    });
  }
  write_tensors(path, header, tensors);
}

}  // namespace kuea
