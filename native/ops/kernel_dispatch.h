#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/scalar.h"

// The way from tensors to native/kernels: on the CPU, in fp32 and bf16. Elsewhere an op writes itself in ATen's terms.
namespace kuea {

inline bool has_kernels(const at::Tensor& t) { return t.is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16); }

/** Calls f with a number of the type that the kernels know t's by. */
template <class F>
void dispatch(const at::Tensor& t, F f) {
  if (t.scalar_type() == at::kBFloat16)
    f(kernels::Bf16{});
  else
    f(float{});
}

/** A contiguous tensor's numbers, from element `offset` on. */
template <class T>
T* numbers(const at::Tensor& t, int64_t offset = 0) {
  return static_cast<T*>(t.data_ptr()) + offset;
}

/** Rows that one task of a parallel loop takes, of `width` numbers each. */
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(1, width)); }

}  // namespace kuea
