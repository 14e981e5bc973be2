#pragma once

#include <deque>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/parameters.h"

namespace kuea {

/** A parameter whose tensors are views of FlatParameters' buffers. */
struct FlatParameter {
  std::string name;
  std::vector<int64_t> shape;
  /** fp32; undefined when not trained. */
  at::Tensor value, grad;
  /** What the forward reads: value in the dtype of the arithmetic. */
  at::Tensor compute;
};

/**
 * Parameters that are trained together, laid end to end in one fp32 buffer, their gradients in another: an update, a norm or a sum over
 * ranks is one operation, and a rank's share is a range. Without training there is the copy for the arithmetic alone.
 */
class FlatParameters {
 public:
  /** Before allocate(). The reference stays valid; its tensors are defined by allocate(). */
  FlatParameter& add(std::string name, std::vector<int64_t> shape);

  /**
   * Gradients start at 0; values are set by load_tensors, after which refresh() must be called. The buffers' length is a multiple of
   * `parts`: zeros that stay zero fill them up.
   */
  void allocate(at::ScalarType compute, at::Device device, bool trained, int64_t parts);

  /** Renews what the forward reads. */
  void refresh();

  /** The whole buffers, fp32. */
  const at::Tensor& value() const { return value_; }
  const at::Tensor& grad() const { return grad_; }

  /** Values (or, without training, what stands for them) under their names, in the order of add(). */
  std::vector<Parameter> all() const;

  /** The same names' views of another buffer of the same layout, such as a moment; none of an undefined one. */
  std::vector<Parameter> views(const at::Tensor& flat) const;

 private:
  std::deque<FlatParameter> list_;
  int64_t numel_ = 0;
  at::Tensor value_, grad_, compute_;
};

}  // namespace kuea
