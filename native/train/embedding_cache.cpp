#include "train/embedding_cache.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include <ATen/ops/empty.h>

#include "runtime/error.h"

namespace kuea {

EmbeddingCache::EmbeddingCache(const CacheSpec& spec, int64_t original_dim, int64_t teacher_dim, bool pinned)
    : spec_(spec), original_dim_(original_dim), teacher_dim_(teacher_dim), pinned_(pinned), file_(spec.file, MappedFile::Mode::read_write) {
  const auto fits = [&](int64_t offset, int64_t row_bytes) {
    return offset >= 0 && offset + spec.rows * row_bytes <= static_cast<int64_t>(file_.size());
  };
  if (!fits(spec.original, original_dim * 4) || !fits(spec.teacher, teacher_dim * 4) || !fits(spec.present, 1)) {
    throw Error("bad_cache", "the cache " + spec.file + " is shorter than its header says: delete it, it will be made again");
  }
}

void EmbeddingCache::check(std::span<const uint32_t> rows) const {
  for (const auto row : rows) {
    if (row >= spec_.rows) throw Error("bad_row", "row " + std::to_string(row) + " of a cache that has " + std::to_string(spec_.rows));
  }
}

bool EmbeddingCache::has(std::span<const uint32_t> rows) const {
  const auto* present = file_.data() + spec_.present;
  return std::all_of(rows.begin(), rows.end(), [&](uint32_t row) { return present[row] == std::byte{1}; });
}

at::Tensor EmbeddingCache::gather(std::span<const uint32_t> rows, int64_t offset, int64_t dim) const {
  auto out = at::empty({static_cast<int64_t>(rows.size()), dim}, at::TensorOptions().dtype(at::kFloat).pinned_memory(pinned_));
  auto* target = out.mutable_data_ptr<float>();
  for (const auto row : rows) {
    std::memcpy(target, file_.data() + offset + static_cast<int64_t>(row) * dim * 4, static_cast<size_t>(dim) * 4);
    target += dim;
  }
  return out;
}

at::Tensor EmbeddingCache::original(std::span<const uint32_t> rows) const { return gather(rows, spec_.original, original_dim_); }

at::Tensor EmbeddingCache::teacher(std::span<const uint32_t> rows) const { return gather(rows, spec_.teacher, teacher_dim_); }

void EmbeddingCache::scatter(std::span<const uint32_t> rows, int64_t offset, const at::Tensor& values) {
  const auto host = values.to(at::kCPU, at::kFloat).contiguous();
  const auto dim = host.size(1);
  const auto* source = host.const_data_ptr<float>();
  for (const auto row : rows) {
    std::memcpy(file_.data() + offset + static_cast<int64_t>(row) * dim * 4, source, static_cast<size_t>(dim) * 4);
    source += dim;
  }
}

void EmbeddingCache::store(std::span<const uint32_t> rows, const at::Tensor& original, const at::Tensor& teacher) {
  scatter(rows, spec_.original, original);
  scatter(rows, spec_.teacher, teacher);
  std::atomic_thread_fence(std::memory_order_release);
  for (const auto row : rows) file_.data()[spec_.present + row] = std::byte{1};
}

}  // namespace kuea
