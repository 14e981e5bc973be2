#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

namespace kuea {

/** Batches of pixels, filled by JavaScript and read by the device thread: `slots` blocks of `bytes`, aligned to a cache line, zeroed. */
class BatchRing {
 public:
  BatchRing(size_t slots, size_t bytes) : bytes_(bytes) {
    const size_t padded = (bytes + 63) / 64 * 64;
    for (size_t i = 0; i < slots; ++i) {
      slots_.emplace_back(static_cast<uint8_t*>(std::aligned_alloc(64, padded)), &std::free);
      if (slots_.back() == nullptr) throw std::bad_alloc();
      std::fill_n(slots_.back().get(), padded, uint8_t{0});
    }
  }

  size_t count() const { return slots_.size(); }
  size_t bytes() const { return bytes_; }
  uint8_t* slot(size_t i) const { return slots_.at(i).get(); }

 private:
  size_t bytes_;
  std::vector<std::unique_ptr<uint8_t, decltype(&std::free)>> slots_;
};

}  // namespace kuea
