#pragma once

#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/frozen_matrix.h"
#include "weights/load.h"

namespace kuea {

/** How frozen weights are kept; BasePrecision in lib/native/llava.ts. */
enum class BasePrecision { fp32, bf16, fp16, nf4 };

/**
 * The frozen weights of a model, handed out from a load plan parameter by parameter as its modules are made: nothing is in memory twice. On
 * the CPU a tensor that lies in its file as it is wanted is a view of the mapped file. All methods throw Error `bad_plan` as load_tensors
 * does.
 */
class FrozenWeights {
 public:
  FrozenWeights(const std::vector<LoadStep>& plan, BasePrecision precision, at::Device device);

  /** A linear map [out, in] of a layer, quantised when the precision says so and its size is a multiple of 64. */
  FrozenMatrix linear(const std::string& name, int64_t out, int64_t in);

  /** Any other parameter: in the dtype of the precision (bf16 for nf4), or in the one that is given. */
  at::Tensor tensor(const std::string& name, at::IntArrayRef shape);
  at::Tensor tensor(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype);

  /** Hands over the steps of parameters whose names start with `prefix`. */
  std::vector<LoadStep> take(const std::string& prefix);

  /** Throws when the plan has steps that nobody asked for. Files stay mapped only for tensors that are views of them. */
  void finish();

 private:
  /** The parameter as it lies in the file, or put together from several steps. */
  at::Tensor stored(const std::string& name, at::IntArrayRef shape);
  void release(const std::string& name);

  std::map<std::string, std::vector<LoadStep>> steps_;
  BasePrecision precision_;
  at::Device device_;
  TensorReader reader_;
};

}  // namespace kuea
