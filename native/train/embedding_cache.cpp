#include "train/embedding_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <ATen/ops/empty.h>

#include "runtime/error.h"

namespace kuea {
namespace {

/** The checksum of a row that nobody has stored. */
constexpr uint32_t absent = 0;

/** table[k][b]: the CRC-32 (zlib's) of byte b with k zero bytes after it. */
constexpr auto crc_tables = [] {
  std::array<std::array<uint32_t, 256>, 8> table{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
    table[0][b] = crc;
  }
  for (size_t k = 1; k < table.size(); ++k) {
    for (size_t b = 0; b < 256; ++b) table[k][b] = (table[k - 1][b] >> 8) ^ table[0][table[k - 1][b] & 0xFF];
  }
  return table;
}();

/** Goes on from the CRC-32 of what came before (0 at the start), eight bytes at a time; `size` is a multiple of 4. */
uint32_t crc32(uint32_t before, const void* data, int64_t size) {
  const auto& t = crc_tables;
  const auto* at = static_cast<const std::byte*>(data);
  const auto word = [](const std::byte* from) {
    uint32_t value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  };
  const auto step = [&](size_t k, uint32_t w) {
    return t[k + 3][w & 0xFF] ^ t[k + 2][(w >> 8) & 0xFF] ^ t[k + 1][(w >> 16) & 0xFF] ^ t[k][w >> 24];
  };
  uint32_t crc = ~before;
  for (; size >= 8; size -= 8, at += 8) crc = step(4, word(at) ^ crc) ^ step(0, word(at + 4));
  if (size >= 4) crc = step(0, word(at) ^ crc);
  return ~crc;
}

}  // namespace

EmbeddingCache::EmbeddingCache(const CacheSpec& spec, int64_t original_dim, int64_t teacher_dim, bool pinned)
    : spec_(spec), original_dim_(original_dim), teacher_dim_(teacher_dim), pinned_(pinned), file_(spec.file, MappedFile::Mode::read_write) {
  const auto fits = [&](int64_t offset, int64_t row_bytes) {
    return offset >= 0 && offset + spec.rows * row_bytes <= static_cast<int64_t>(file_.size());
  };
  if (!fits(spec.original, original_dim * 4) || !fits(spec.teacher, teacher_dim * 4) || !fits(spec.checksums, 4)) {
    throw Error("bad_cache", "the cache " + spec.file + " is shorter than its header says: delete it, it will be made again");
  }
}

void EmbeddingCache::check(std::span<const uint32_t> rows) const {
  for (const auto row : rows) {
    if (row >= spec_.rows) throw Error("bad_row", "row " + std::to_string(row) + " of a cache that has " + std::to_string(spec_.rows));
  }
}

uint32_t EmbeddingCache::checksum(const void* original, const void* teacher) const {
  const auto crc = crc32(crc32(0, original, original_dim_ * 4), teacher, teacher_dim_ * 4);
  return crc == absent ? 1 : crc;
}

uint32_t EmbeddingCache::stored_checksum(uint32_t row) const {
  uint32_t value;
  std::memcpy(&value, row_of(spec_.checksums, row, 1), sizeof(value));
  return value;
}

bool EmbeddingCache::has(std::span<const uint32_t> rows) const {
  return std::all_of(rows.begin(), rows.end(), [&](uint32_t row) {
    const auto stored = stored_checksum(row);
    return stored != absent && stored == checksum(row_of(spec_.original, row, original_dim_), row_of(spec_.teacher, row, teacher_dim_));
  });
}

std::optional<EmbeddingCache::Rows> EmbeddingCache::load(std::span<const uint32_t> rows) const {
  const auto options = at::TensorOptions().dtype(at::kFloat).pinned_memory(pinned_);
  const auto count = static_cast<int64_t>(rows.size());
  Rows out{at::empty({count, original_dim_}, options), at::empty({count, teacher_dim_}, options)};
  auto* original = out.original.mutable_data_ptr<float>();
  auto* teacher = out.teacher.mutable_data_ptr<float>();
  for (const auto row : rows) {
    const auto stored = stored_checksum(row);
    if (stored == absent) return std::nullopt;
    // The copy is checked, not the file, which another process may be writing.
    std::memcpy(original, row_of(spec_.original, row, original_dim_), static_cast<size_t>(original_dim_) * 4);
    std::memcpy(teacher, row_of(spec_.teacher, row, teacher_dim_), static_cast<size_t>(teacher_dim_) * 4);
    if (stored != checksum(original, teacher)) return std::nullopt;
    original += original_dim_;
    teacher += teacher_dim_;
  }
  return out;
}

void EmbeddingCache::store(std::span<const uint32_t> rows, const at::Tensor& original, const at::Tensor& teacher) {
  const auto host = [](const at::Tensor& values) { return values.to(at::kCPU, at::kFloat).contiguous(); };
  const auto x = host(original), y = host(teacher);
  const auto* from_x = x.const_data_ptr<float>();
  const auto* from_y = y.const_data_ptr<float>();
  for (const auto row : rows) {
    std::memcpy(row_of(spec_.original, row, original_dim_), from_x, static_cast<size_t>(original_dim_) * 4);
    std::memcpy(row_of(spec_.teacher, row, teacher_dim_), from_y, static_cast<size_t>(teacher_dim_) * 4);
    const auto sum = checksum(from_x, from_y);
    std::memcpy(row_of(spec_.checksums, row, 1), &sum, sizeof(sum));
    from_x += original_dim_;
    from_y += teacher_dim_;
  }
}

}  // namespace kuea
