#include "bind/resource.h"

#include "bind/args.h"

namespace kuea {

std::vector<WriteStep> write_steps(const Napi::Value& array) {
  std::vector<WriteStep> steps;
  const auto given = [](const Napi::Object& o, const char* key) { return o.Has(key) && !o.Get(key).IsUndefined(); };
  args::each(array, [&](const Napi::Object& o) {
    WriteStep step;
    step.transpose = o.Get("transpose").ToBoolean();
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
    tensors.push_back([&reader, &step, &find] {
      if (step.source) return reader.view(*step.source);
      auto tensor = find(step.parameter, step.state).detach();
      if (step.rows) tensor = tensor.narrow(0, step.row, *step.rows);
      return step.transpose ? tensor.t() : tensor;
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
