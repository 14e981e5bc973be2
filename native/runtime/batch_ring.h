#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/Allocator.h>
#include <c10/core/Device.h>

namespace kuea {

/**
 * Batches of pixels, filled by JavaScript and read by the device thread: `slots` blocks of `bytes`, aligned to a cache line, zeroed; for a
 * GPU in memory that it copies from by itself.
 */
class BatchRing {
 public:
  BatchRing(size_t slots, size_t bytes, c10::Device device) : bytes_(bytes) {
    const size_t padded = (bytes + 63) / 64 * 64;
    for (size_t i = 0; i < slots; ++i) {
      slots_.push_back(device.is_cpu() ? pageable(padded) : at::getHostAllocator(device.type())->allocate(padded));
      std::fill_n(slot(i), padded, uint8_t{0});
    }
  }

  size_t count() const { return slots_.size(); }
  size_t bytes() const { return bytes_; }
  uint8_t* slot(size_t i) const { return static_cast<uint8_t*>(slots_.at(i).get()); }

 private:
  static c10::DataPtr pageable(size_t bytes) {
    void* data = std::aligned_alloc(64, bytes);
    if (data == nullptr) throw std::bad_alloc();
    return {data, data, &std::free, c10::Device(c10::DeviceType::CPU)};
  }

  size_t bytes_;
  std::vector<c10::DataPtr> slots_;
};

}  // namespace kuea
