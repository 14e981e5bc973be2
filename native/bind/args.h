#pragma once

#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bind/napi_setup.h"
#include "models/clip_text.h"
#include "models/encoder.h"
#include "models/llava.h"
#include "ops/alignment/alignment.h"
#include "weights/load.h"
#include "weights/stored_tensor.h"
#include "weights/write_plan.h"

// JavaScript values to the core's structs. lib/ has validated everything; a field that is missing or of another type is a bug there and
// throws a TypeError with code `bad_argument` that names it.
namespace kuea::args {

[[noreturn]] void refuse(Napi::Env env, const std::string& message);

double number(const Napi::Object& object, const char* key);
int64_t integer(const Napi::Object& object, const char* key);
std::string string(const Napi::Object& object, const char* key);
bool boolean(const Napi::Object& object, const char* key);
Napi::Object object(const Napi::Object& parent, const char* key);

/** A type of typed arrays: how Node-API numbers it, and how it is told. */
template <class T>
struct ArrayType;
template <>
struct ArrayType<uint8_t> {
  static constexpr napi_typedarray_type type = napi_uint8_array;
  static constexpr const char* name = "a Uint8Array";
};
template <>
struct ArrayType<int32_t> {
  static constexpr napi_typedarray_type type = napi_int32_array;
  static constexpr const char* name = "an Int32Array";
};
template <>
struct ArrayType<uint32_t> {
  static constexpr napi_typedarray_type type = napi_uint32_array;
  static constexpr const char* name = "a Uint32Array";
};
template <>
struct ArrayType<float> {
  static constexpr napi_typedarray_type type = napi_float32_array;
  static constexpr const char* name = "a Float32Array";
};
template <>
struct ArrayType<double> {
  static constexpr napi_typedarray_type type = napi_float64_array;
  static constexpr const char* name = "a Float64Array";
};

/** The typed array with elements of T (not of another type, whose bytes would be taken for such), as it lies in JavaScript's memory. */
template <class T>
Napi::TypedArrayOf<T> typed_array(const Napi::Value& value, const char* key) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != ArrayType<T>::type)
    refuse(value.Env(), std::string("expected ") + ArrayType<T>::name + " for " + key);
  return value.As<Napi::TypedArrayOf<T>>();
}
template <class T>
Napi::TypedArrayOf<T> typed_array(const Napi::Object& object, const char* key) {
  return typed_array<T>(object.Get(key), key);
}

/** What `choices` has for the string. */
template <class T>
T choice(const Napi::Object& object, const char* key, const std::map<std::string, T>& choices) {
  const auto given = string(object, key);
  const auto found = choices.find(given);
  if (found != choices.end()) return found->second;
  std::string expected;
  for (const auto& [name, value] : choices) expected += (expected.empty() ? "" : ", ") + name;
  refuse(object.Env(), "expected one of " + expected + " for " + key + ", found " + given);
}

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
std::vector<WriteStep> write_steps(const Napi::Value& array);
/** Copies a Uint8Array. */
std::vector<std::byte> bytes(const Napi::Value& value);
ClipTextArch clip_text_arch(const Napi::Object& object);
EncoderSpec encoder_spec(const Napi::Object& object);
LlavaSpec llava_spec(const Napi::Object& object);
KernelSpec kernel_spec(const Napi::Object& object);
at::ScalarType precision(const Napi::Object& object);
at::Device device(const Napi::Object& object);

/** [{name, shape}] of a model's parameters. */
Napi::Value parameter_list(Napi::Env env, const std::vector<Parameter>& parameters);

/** The numbers of a contiguous fp32 tensor of the CPU, as a Float32Array. */
Napi::Value float_array(Napi::Env env, const at::Tensor& numbers);

/** Calls f(element) for each object of an array. */
template <class F>
void each(const Napi::Value& array, F f) {
  const auto list = array.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) f(list.Get(i).As<Napi::Object>());
}

}  // namespace kuea::args
