#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "runtime/mapped_file.h"

namespace kuea {

/** Where the bytes of one tensor lie in a file; TensorBytes in lib/native/addon.ts. */
struct StoredTensor {
  std::string file;
  int64_t offset = 0;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  /** In elements; empty means row-major. */
  std::vector<int64_t> strides;
  bool transpose = false;
};

/** Reads stored tensors; maps each file once. */
class TensorReader {
 public:
  /**
   * The tensor as it lies in the file (transposed if asked for): a view of the map, read-only, which keeps the file mapped. Throws Error
   * `bad_tensor` when it does not lie within the file: a map read past its end kills the process.
   */
  at::Tensor view(const StoredTensor& stored);

  /** Says that this tensor's bytes were copied: its pages leave the process's memory. For row-major ones; others are left as they are. */
  void release(const StoredTensor& stored);

 private:
  std::map<std::string, std::shared_ptr<MappedFile>> files_;
};

}  // namespace kuea
