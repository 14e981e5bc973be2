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
    free_all();
  }

  CpuMemory memory() {
    std::lock_guard lock(mutex_);
    return memory_;
  }

 private:
  static void give_back(void* data);

  void free_all() {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) std::free(block);
    }
    free_.clear();
    memory_.cached = 0;
  }

  /** Steps of ever other sizes (texts of all lengths) would leave blocks of all sizes behind: what is kept may not take the whole past the peak and an eighth. */
  void make_room(size_t size) {
    const size_t peak = std::max(memory_.peak, memory_.in_use + size);
    if (memory_.in_use + size + memory_.cached > peak + peak / 8) free_all();
  }

  static void* aligned(size_t alignment, size_t bytes) {
    void* data = nullptr;
    if (posix_memalign(&data, alignment, bytes) != 0) throw std::bad_alloc();
    return data;
  }

  void* take(size_t bytes) {
    if (bytes < smallest) return aligned(64, bytes);
    const size_t size = (bytes + granule - 1) / granule * granule;
    std::lock_guard lock(mutex_);
    void* data = nullptr;
    if (const auto found = free_.find(size); found != free_.end() && !found->second.empty()) {
      data = found->second.back();
      found->second.pop_back();
      memory_.cached -= size;
    } else {
      make_room(size);
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
    free_[found->second].push_back(data);
    sizes_.erase(found);
  }

  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_;
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
