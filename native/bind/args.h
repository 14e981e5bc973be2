#pragma once

#include <span>
#include <string>
#include <vector>

#include "bind/napi_setup.h"
#include "kernels/kernel_alignment.h"
#include "models/encoder.h"
#include "models/llava.h"
#include "weights/load.h"
#include "weights/stored_tensor.h"

// JavaScript values to the core's structs. lib/ has validated everything; a field that is missing or of another type is a bug there and
// throws a TypeError that names it.
namespace kuea::args {

double number(const Napi::Object& object, const char* key);
int64_t integer(const Napi::Object& object, const char* key);
std::string string(const Napi::Object& object, const char* key);
bool boolean(const Napi::Object& object, const char* key);
Napi::Object object(const Napi::Object& parent, const char* key);
/** Copies a Uint32Array. */
std::vector<uint32_t> rows(const Napi::Object& object, const char* key);

/** Copies an Int32Array. */
std::vector<int64_t> ints(const Napi::Object& object, const char* key);
/** Copies a Float32Array. */
std::vector<float> floats(const Napi::Object& object, const char* key);
/** Copies a Float64Array. */
std::vector<double> doubles(const Napi::Object& object, const char* key);

/** dtype of an object, in safetensors' spelling. */
at::ScalarType dtype(const Napi::Object& object);
StoredTensor stored_tensor(const Napi::Object& object);
LoadStep load_step(const Napi::Object& object);
std::vector<LoadStep> load_plan(const Napi::Value& array);
EncoderSpec encoder_spec(const Napi::Object& object);
LlavaSpec llava_spec(const Napi::Object& object);
KernelKind kernel_kind(const Napi::Object& object);
at::ScalarType precision(const Napi::Object& object);
at::Device device(const Napi::Object& object);

/** [{name, shape}] of a model's parameters. */
Napi::Value parameter_list(Napi::Env env, const std::vector<Parameter>& parameters);

/** Calls f(element) for each object of an array. */
template <class F>
void each(const Napi::Value& array, F f) {
  const auto list = array.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) f(list.Get(i).As<Napi::Object>());
}

}  // namespace kuea::args
