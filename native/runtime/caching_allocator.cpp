#include "runtime/caching_allocator.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

namespace kuea {
namespace {

// Smaller blocks come from malloc, which keeps those itself.
constexpr size_t smallest = size_t{1} << 20;
// Sizes are rounded up to this, so that nearly equal ones share blocks.
constexpr size_t granule = size_t{1} << 18;
constexpr size_t huge_page = size_t{1} << 21;

class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes == 0 ? nullptr : take(bytes);
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }

  void copy_data(void* to, const void* from, size_t count) const override { std::memcpy(to, from, count); }

  void trim() {
    std::lock_guard lock(mutex_);
    keep_at_most(0);
    // What is kept is bounded by the peak: that of a model that is gone says nothing of the next.
    memory_.peak = memory_.in_use;
  }

  CpuMemory memory() {
    std::lock_guard lock(mutex_);
    return memory_;
  }

 private:
  static void give_back(void* data);

  struct Block {
    void* data;
    size_t size;
  };

  /** The smallest kept block of at least this size, and at most half as much again; of equal ones the last to come back. */
  std::vector<Block>::iterator fitting(size_t size) {
    auto best = free_.end();
    for (auto block = free_.begin(); block != free_.end(); ++block) {
      if (block->size >= size && block->size <= size + size / 2 && (best == free_.end() || block->size <= best->size)) best = block;
    }
    return best;
  }

  /** Frees kept blocks, the oldest first, until no more than `bytes` are kept. */
  void keep_at_most(size_t bytes) {
    auto block = free_.begin();
    for (; memory_.cached > bytes; ++block) {
      std::free(block->data);
      memory_.cached -= block->size;
    }
    free_.erase(free_.begin(), block);
  }

  static void* aligned(size_t alignment, size_t bytes) {
    void* data = nullptr;
    if (posix_memalign(&data, alignment, bytes) != 0) throw std::bad_alloc();
    return data;
  }

  void* take(size_t bytes) {
    if (bytes < smallest) return aligned(64, bytes);
    size_t size = (bytes + granule - 1) / granule * granule;
    std::lock_guard lock(mutex_);
    void* data = nullptr;
    if (const auto kept = fitting(size); kept != free_.end()) {
      data = kept->data;
      size = kept->size;
      free_.erase(kept);
      memory_.cached -= size;
    } else {
      // Steps of ever other sizes, texts of all lengths say, would leave blocks of all sizes behind: the whole stays within the peak and an
      // eighth.
      const size_t needed = memory_.in_use + size, peak = std::max(memory_.peak, needed);
      keep_at_most(peak + peak / 8 - needed);
      data = aligned(huge_page, size);
      madvise(data, size / huge_page * huge_page, MADV_HUGEPAGE);
    }
    sizes_[data] = size;
    memory_.in_use += size;
    memory_.peak = std::max(memory_.peak, memory_.in_use);
    return data;
  }

  void put(void* data) {
    std::unique_lock lock(mutex_);
    const auto found = sizes_.find(data);
    if (found == sizes_.end()) {
      lock.unlock();
      std::free(data);
      return;
    }
    memory_.in_use -= found->second;
    memory_.cached += found->second;
    free_.push_back({data, found->second});
    sizes_.erase(found);
  }

  std::mutex mutex_;
  /** In the order in which they were given back. There are at most some hundreds. */
  std::vector<Block> free_;
  std::unordered_map<void*, size_t> sizes_;
  CpuMemory memory_{};
};

/** Never destroyed: tensors may be freed after static destructors. */
CachingAllocator& allocator() {
  static auto* instance = new CachingAllocator();
  return *instance;
}

void CachingAllocator::give_back(void* data) {
  if (data != nullptr) allocator().put(data);
}

}  // namespace

void install_caching_allocator() { c10::SetCPUAllocator(&allocator(), 1); }

void release_cached_memory() { allocator().trim(); }

CpuMemory cpu_memory() { return allocator().memory(); }

}  // namespace kuea
