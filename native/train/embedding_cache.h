#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <ATen/core/Tensor.h>

#include "runtime/mapped_file.h"

namespace kuea {

/** Layout of a cache file; CacheSpec in lib/native/addon.ts. */
struct CacheSpec {
  std::string file;
  int64_t rows;
  int64_t original, teacher, checksums;
};

/**
 * The two frozen embeddings of every image in one mapped file: fp32 [rows, d], fp32 [rows, d'] and u32 [rows], the CRC-32 of a row's bytes
 * in both (1 where it would be 0, which says that the row is absent). Nothing orders what reaches the disk, and other processes may write
 * the same rows: a row is used only when its bytes have its checksum, so whatever a kill, a power cut or a bad disk leaves is right or
 * absent.
 */
class EmbeddingCache {
 public:
  /**
   * `pinned`: embeddings are read into memory that a GPU copies from by itself. Throws Error `bad_cache` when the file is too short for its
   * layout.
   */
  EmbeddingCache(const CacheSpec& spec, int64_t original_dim, int64_t teacher_dim, bool pinned);

  /** Copies of rows: fp32 [rows.size(), d] and [rows.size(), d']. */
  struct Rows {
    at::Tensor original, teacher;
  };

  bool has(std::span<const uint32_t> rows) const;
  /** The rows; nothing when one of them is absent. */
  std::optional<Rows> load(std::span<const uint32_t> rows) const;
  void store(std::span<const uint32_t> rows, const at::Tensor& original, const at::Tensor& teacher);

  /** Throws Error `bad_row` when a row lies outside the file. */
  void check(std::span<const uint32_t> rows) const;

 private:
  std::byte* row_of(int64_t offset, uint32_t row, int64_t dim) const { return file_.data() + offset + int64_t{row} * dim * 4; }
  uint32_t checksum(const void* original, const void* teacher) const;
  uint32_t stored_checksum(uint32_t row) const;

  CacheSpec spec_;
  int64_t original_dim_, teacher_dim_;
  bool pinned_;
  MappedFile file_;
};

}  // namespace kuea
