#include "bind/args.h"

#include <map>

#include "runtime/error.h"

namespace kuea::args {
namespace {

Napi::Value get(const Napi::Object& object, const char* key, napi_valuetype type, const char* expected) {
  const auto value = object.Get(key);
  if (value.Type() != type) throw Napi::TypeError::New(object.Env(), std::string("expected ") + expected + " for " + key);
  return value;
}

template <class T>
T choice(const Napi::Object& object, const char* key, const std::map<std::string, T>& choices) {
  const auto found = choices.find(string(object, key));
  if (found == choices.end()) throw Napi::TypeError::New(object.Env(), std::string("unknown value for ") + key);
  return found->second;
}

/** A typed array of S, copied to a vector of T. */
template <class T, class S>
std::vector<T> elements(const Napi::Object& object, const char* key, napi_typedarray_type type, const char* expected) {
  const auto value = object.Get(key);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    throw Napi::TypeError::New(object.Env(), std::string("expected ") + expected + " for " + key);
  }
  const auto array = value.As<Napi::TypedArrayOf<S>>();
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
  if (list.Length() != 3) throw Napi::TypeError::New(object.Env(), std::string("expected three numbers for ") + key);
  return {list.Get(0u).ToNumber(), list.Get(1u).ToNumber(), list.Get(2u).ToNumber()};
}

ClipVisionArch clip_arch(const Napi::Object& o) {
  return {
      integer(o, "width"),     integer(o, "layers"),
      integer(o, "heads"),     integer(o, "mlpWidth"),
      integer(o, "patchSize"), integer(o, "imageSize"),
      integer(o, "embedDim"),  choice<Activation>(o, "activation", {{"quick_gelu", Activation::quick_gelu}, {"gelu", Activation::gelu}})};
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

double number(const Napi::Object& object, const char* key) { return get(object, key, napi_number, "a number").ToNumber(); }

int64_t integer(const Napi::Object& object, const char* key) { return get(object, key, napi_number, "an integer").ToNumber().Int64Value(); }

std::string string(const Napi::Object& object, const char* key) { return get(object, key, napi_string, "a string").ToString(); }

bool boolean(const Napi::Object& object, const char* key) { return get(object, key, napi_boolean, "a boolean").ToBoolean(); }

Napi::Object object(const Napi::Object& parent, const char* key) { return get(parent, key, napi_object, "an object").As<Napi::Object>(); }

std::vector<uint32_t> rows(const Napi::Object& object, const char* key) {
  return elements<uint32_t, uint32_t>(object, key, napi_uint32_array, "a Uint32Array");
}

std::vector<int64_t> ints(const Napi::Object& object, const char* key) {
  return elements<int64_t, int32_t>(object, key, napi_int32_array, "an Int32Array");
}

std::vector<float> floats(const Napi::Object& object, const char* key) {
  return elements<float, float>(object, key, napi_float32_array, "a Float32Array");
}

std::vector<double> doubles(const Napi::Object& object, const char* key) {
  return elements<double, double>(object, key, napi_float64_array, "a Float64Array");
}

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

KernelKind kernel_kind(const Napi::Object& o) {
  return choice<KernelKind>(o, "kind",
                            {{"polynomial", KernelKind::polynomial}, {"gaussian", KernelKind::gaussian}, {"cosine", KernelKind::cosine}});
}

at::ScalarType precision(const Napi::Object& o) {
  return choice<at::ScalarType>(o, "precision", {{"fp32", at::kFloat}, {"bf16", at::kBFloat16}});
}

at::Device device(const Napi::Object& o) {
  at::Device device(string(o, "device"));
  // Streams and events want a number.
  if (device.is_cuda() && !device.has_index()) device.set_index(0);
  return device;
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

}  // namespace kuea::args
