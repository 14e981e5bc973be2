#include "weights/stored_tensor.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/ScalarType.h>

#include <cstring>

#include "runtime/error.h"

namespace kuea {
namespace {

std::vector<int64_t> row_major(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

/** Elements from the first to one past the last that these strides reach; 0 when there is none. */
int64_t extent(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  int64_t last = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    last += (shape[i] - 1) * strides[i];
  }
  return last + 1;
}

}  // namespace

at::Tensor TensorReader::view(const StoredTensor& stored) {
  auto& file = files_[stored.file];
  if (!file) file = std::make_shared<MappedFile>(stored.file);
  const auto strides = stored.strides.empty() ? row_major(stored.shape) : stored.strides;
  const auto itemsize = static_cast<int64_t>(c10::elementSize(stored.dtype));
  const auto bytes = extent(stored.shape, strides) * itemsize;
  const bool negative = std::any_of(strides.begin(), strides.end(), [](int64_t s) { return s < 0; });
  if (stored.offset < 0 || negative || stored.offset + bytes > static_cast<int64_t>(file->size())) {
    throw Error("bad_tensor", "a tensor of " + stored.file + " needs bytes up to " + std::to_string(stored.offset + bytes) +
                                  ", but the file has " + std::to_string(file->size()) +
                                  ": it is truncated or was changed while it was read; fetch it again");
  }
  auto* address = file->data() + stored.offset;
  const auto options = at::TensorOptions().dtype(stored.dtype);
  at::Tensor tensor;
  if (bytes == 0) {
    tensor = at::empty(stored.shape, options);
  } else if (reinterpret_cast<uintptr_t>(address) % static_cast<uintptr_t>(itemsize) == 0) {
    tensor = at::from_blob(address, stored.shape, strides, [file](void*) {}, options);
  } else {
    // safetensors headers written without padding leave tensors at odd addresses.
    auto copy = at::empty({bytes / itemsize}, options);
    std::memcpy(copy.data_ptr(), address, static_cast<size_t>(bytes));
    tensor = copy.as_strided(stored.shape, strides);
  }
  return stored.transpose ? tensor.t() : tensor;
}

void TensorReader::release(const StoredTensor& stored) {
  const auto found = files_.find(stored.file);
  if (found == files_.end() || !stored.strides.empty()) return;
  const auto bytes = extent(stored.shape, row_major(stored.shape)) * static_cast<int64_t>(c10::elementSize(stored.dtype));
  found->second->forget(static_cast<size_t>(stored.offset), static_cast<size_t>(bytes));
}

}  // namespace kuea
