#include "bind/resource.h"

#include <ATen/ops/addmm.h>

#include "bind/args.h"

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

std::vector<WriteStep> write_steps(const Napi::Value& array) {
  std::vector<WriteStep> steps;
  const auto given = [](const Napi::Object& o, const char* key) { return o.Has(key) && !o.Get(key).IsUndefined(); };
  args::each(array, [&](const Napi::Object& o) {
    WriteStep step;
    step.transpose = o.Get("transpose").ToBoolean();
    if (given(o, "dtype")) step.dtype = args::dtype(o);
    if (given(o, "merge")) {
      const auto merge = args::object(o, "merge");
      step.merge = {args::stored_tensor(args::object(merge, "a")), args::stored_tensor(args::object(merge, "b")),
                    args::number(merge, "scale")};
    }
    if (given(o, "source")) {
      step.source = args::stored_tensor(args::object(o, "source"));
      step.source->transpose = step.transpose;
    } else {
      step.parameter = args::string(o, "parameter");
      step.state = given(o, "state") ? args::string(o, "state") : "value";
      if (given(o, "row")) step.row = args::integer(o, "row");
      if (given(o, "rows")) step.rows = args::integer(o, "rows");
    }
    steps.push_back(std::move(step));
  });
  return steps;
}

void write_plan(const std::string& path, const std::vector<std::byte>& header, const std::vector<WriteStep>& steps,
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

std::vector<std::byte> bytes(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint8Array>();
  const auto* data = reinterpret_cast<const std::byte*>(array.Data());
  return {data, data + array.ByteLength()};
}

}  // namespace kuea
