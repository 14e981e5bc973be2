#pragma once

#include <utility>
#include <variant>

#include <ATen/core/Tensor.h>

#include "ops/nf4.h"

namespace kuea {

/** A weight [out, in] that is never trained, in the dtype that it is kept in: floating, perhaps a view of a mapped file, or NF4. */
class FrozenMatrix {
 public:
  explicit FrozenMatrix(at::Tensor dense) : kept_(std::move(dense)) {}
  explicit FrozenMatrix(Nf4 packed) : kept_(std::move(packed)) {}

  /** In this dtype: what is kept itself if it is of that dtype, else a copy for as long as the caller needs it. */
  at::Tensor dense(at::ScalarType dtype) const {
    if (const auto* packed = std::get_if<Nf4>(&kept_)) return nf4_dequantize(*packed, dtype);
    return std::get<at::Tensor>(kept_).to(dtype);
  }

 private:
  std::variant<at::Tensor, Nf4> kept_;
};

}  // namespace kuea
