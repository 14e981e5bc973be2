#include "bind/args.h"

#include <cmath>
#include <cstring>

#include "runtime/error.h"

namespace kuea::args {
namespace {

Napi::Value get(const Napi::Object& object, const char* key, napi_valuetype type, const char* expected) {
  const auto value = object.Get(key);
  if (value.Type() != type) refuse(object.Env(), std::string("expected ") + expected + " for " + key);
  return value;
}

/** A typed array of S, copied to a vector of T. */
template <class T, class S>
std::vector<T> elements(const Napi::Object& object, const char* key) {
  const auto array = typed_array<S>(object, key);
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<int64_t> integers(const Napi::Value& array) {
  std::vector<int64_t> out;
  const auto list = array.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) out.push_back(list.Get(i).ToNumber().Int64Value());
  return out;
}

std::array<double, 3> triple(const Napi::Object& object, const char* key) {
  const auto list = object.Get(key).As<Napi::Array>();
  if (!list.IsArray() || list.Length() != 3) refuse(object.Env(), std::string("expected three numbers for ") + key);
  return {list.Get(0u).ToNumber(), list.Get(1u).ToNumber(), list.Get(2u).ToNumber()};
}

Activation clip_activation(const Napi::Object& o) {
  return choice<Activation>(o, "activation", {{"quick_gelu", Activation::quick_gelu}, {"gelu", Activation::gelu}});
}

ClipVisionArch clip_arch(const Napi::Object& o) {
  return {integer(o, "width"),     integer(o, "layers"),    integer(o, "heads"),    integer(o, "mlpWidth"),
          integer(o, "patchSize"), integer(o, "imageSize"), integer(o, "embedDim"), clip_activation(o)};
}

Arch arch(const Napi::Object& o) {
  if (string(o, "family") == "clip") return clip_arch(o);
  return Dinov2Arch{
      integer(o, "width"),
      integer(o, "layers"),
      integer(o, "heads"),
      integer(o, "mlpWidth"),
      integer(o, "patchSize"),
      integer(o, "imageSize"),
      integer(o, "registers"),
      choice<Activation>(o, "ffn", {{"mlp", Activation::gelu}, {"swiglu", Activation::swiglu}}),
      choice<Interpolation>(o, "interpolation",
                            {{"offset", Interpolation::offset}, {"size", Interpolation::size}, {"antialias", Interpolation::antialias}})};
}

}  // namespace

void refuse(Napi::Env env, const std::string& message) {
  auto error = Napi::TypeError::New(env, message);
  error.Set("code", "bad_argument");
  throw error;
}

double number(const Napi::Object& object, const char* key) { return get(object, key, napi_number, "a number").ToNumber(); }

int64_t integer(const Napi::Object& object, const char* key) {
  const double value = get(object, key, napi_number, "an integer").ToNumber();
  if (value != std::floor(value) || std::abs(value) > 9007199254740992.0)
    refuse(object.Env(), std::string("expected an integer for ") + key);
  return static_cast<int64_t>(value);
}

std::string string(const Napi::Object& object, const char* key) { return get(object, key, napi_string, "a string").ToString(); }

bool boolean(const Napi::Object& object, const char* key) { return get(object, key, napi_boolean, "a boolean").ToBoolean(); }

Napi::Object object(const Napi::Object& parent, const char* key) { return get(parent, key, napi_object, "an object").As<Napi::Object>(); }

std::vector<uint32_t> rows(const Napi::Object& object, const char* key) { return elements<uint32_t, uint32_t>(object, key); }

std::vector<int64_t> ints(const Napi::Object& object, const char* key) { return elements<int64_t, int32_t>(object, key); }

std::vector<float> floats(const Napi::Object& object, const char* key) { return elements<float, float>(object, key); }

std::vector<double> doubles(const Napi::Object& object, const char* key) { return elements<double, double>(object, key); }

at::ScalarType dtype(const Napi::Object& o) {
  return choice<at::ScalarType>(o, "dtype", {{"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}});
}

StoredTensor stored_tensor(const Napi::Object& o) {
  StoredTensor stored;
  stored.file = string(o, "file");
  stored.offset = integer(o, "offset");
  stored.dtype = dtype(o);
  stored.shape = integers(o.Get("shape"));
  if (o.Has("strides") && !o.Get("strides").IsUndefined()) stored.strides = integers(o.Get("strides"));
  return stored;
}

LoadStep load_step(const Napi::Object& o) {
  LoadStep step{string(o, "parameter"), -1, stored_tensor(object(o, "source"))};
  if (o.Has("row") && !o.Get("row").IsUndefined()) step.row = integer(o, "row");
  step.source.transpose = o.Get("transpose").ToBoolean();
  return step;
}

std::vector<LoadStep> load_plan(const Napi::Value& array) {
  std::vector<LoadStep> plan;
  each(array, [&](const Napi::Object& step) { plan.push_back(load_step(step)); });
  return plan;
}

std::vector<WriteStep> write_steps(const Napi::Value& array) {
  std::vector<WriteStep> steps;
  const auto given = [](const Napi::Object& o, const char* key) { return o.Has(key) && !o.Get(key).IsUndefined(); };
  each(array, [&](const Napi::Object& o) {
    WriteStep step;
    step.transpose = o.Get("transpose").ToBoolean();
    if (given(o, "dtype")) step.dtype = dtype(o);
    if (given(o, "merge")) {
      const auto merge = object(o, "merge");
      step.merge = {stored_tensor(object(merge, "a")), stored_tensor(object(merge, "b")), number(merge, "scale")};
    }
    if (given(o, "source")) {
      step.source = stored_tensor(object(o, "source"));
      step.source->transpose = step.transpose;
    } else {
      step.parameter = string(o, "parameter");
      step.state = given(o, "state") ? string(o, "state") : "value";
      if (given(o, "row")) step.row = integer(o, "row");
      if (given(o, "rows")) step.rows = integer(o, "rows");
    }
    steps.push_back(std::move(step));
  });
  return steps;
}

std::vector<std::byte> bytes(const Napi::Value& value) {
  const auto array = typed_array<uint8_t>(value, "header");
  const auto* data = reinterpret_cast<const std::byte*>(array.Data());
  return {data, data + array.ByteLength()};
}

ClipTextArch clip_text_arch(const Napi::Object& o) {
  ClipTextArch arch{integer(o, "width"),    integer(o, "layers"),  integer(o, "heads"),
                    integer(o, "mlpWidth"), integer(o, "context"), integer(o, "vocabulary"),
                    integer(o, "embedDim"), clip_activation(o),    std::nullopt};
  if (!o.Get("endToken").IsNull()) arch.end_token = integer(o, "endToken");
  return arch;
}

EncoderSpec encoder_spec(const Napi::Object& o) {
  return {arch(object(o, "arch")), load_plan(o.Get("weights")), triple(o, "mean"), triple(o, "std")};
}

LlavaSpec llava_spec(const Napi::Object& o) {
  const auto llama = object(o, "llama");
  LlavaSpec spec{
      .vision = clip_arch(object(o, "vision")),
      .mean = triple(o, "mean"),
      .std = triple(o, "std"),
      .ln_post = choice<bool>(o, "feature", {{"hidden", false}, {"ln_post", true}}),
      .llama = {integer(llama, "width"), integer(llama, "layers"), integer(llama, "heads"), integer(llama, "mlpWidth"),
                integer(llama, "vocabulary"), number(llama, "rmsNormEps"), number(llama, "ropeTheta")},
      .weights = load_plan(o.Get("weights")),
      .base = choice<BasePrecision>(
          o, "basePrecision",
          {{"fp32", BasePrecision::fp32}, {"bf16", BasePrecision::bf16}, {"fp16", BasePrecision::fp16}, {"nf4", BasePrecision::nf4}}),
      .compute = precision(o),
      .lora = {},
      .device = device(o)};
  if (o.Get("lora").IsObject()) {
    const auto lora = object(o, "lora");
    const auto rank = integer(lora, "rank");
    spec.lora = {{rank, number(lora, "alpha") / static_cast<double>(rank)}, {}, static_cast<uint64_t>(integer(lora, "seed"))};
    if (lora.Get("weights").IsArray()) spec.lora->weights = load_plan(lora.Get("weights"));
  }
  return spec;
}

KernelSpec kernel_spec(const Napi::Object& o) {
  return {choice<KernelKind>(o, "kind",
                             {{"polynomial", KernelKind::polynomial}, {"gaussian", KernelKind::gaussian}, {"cosine", KernelKind::cosine}}),
          number(o, "gamma"), number(o, "c"), number(o, "sigma"), number(o, "sigmaTeacher")};
}

at::ScalarType precision(const Napi::Object& o) {
  return choice<at::ScalarType>(o, "precision", {{"fp32", at::kFloat}, {"bf16", at::kBFloat16}});
}

at::Device device(const Napi::Object& o) {
  const auto given = string(o, "device");
  try {
    at::Device device(given);
    // Streams and events want a number.
    if (device.is_cuda() && !device.has_index()) device.set_index(0);
    if (device.is_cpu() || device.is_cuda()) return device;
  } catch (const c10::Error&) {
  }
  refuse(o.Env(), "expected cpu or cuda:N for device, found " + given);
}

Napi::Value parameter_list(Napi::Env env, const std::vector<Parameter>& parameters) {
  auto list = Napi::Array::New(env, parameters.size());
  for (uint32_t i = 0; i < parameters.size(); ++i) {
    auto entry = Napi::Object::New(env);
    const auto sizes = parameters[i].value.sizes();
    auto shape = Napi::Array::New(env, sizes.size());
    for (uint32_t k = 0; k < sizes.size(); ++k) shape.Set(k, static_cast<double>(sizes[k]));
    entry.Set("name", parameters[i].name);
    entry.Set("shape", shape);
    list.Set(i, entry);
  }
  return list;
}

Napi::Value float_array(Napi::Env env, const at::Tensor& numbers) {
  auto out = Napi::Float32Array::New(env, static_cast<size_t>(numbers.numel()));
  std::memcpy(out.Data(), numbers.const_data_ptr<float>(), numbers.nbytes());
  return out;
}

}  // namespace kuea::args
