#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <ATen/core/Tensor.h>

#include "runtime/mapped_file.h"

namespace kuea {

/** Layout of a cache file; CacheSpec in lib/native/addon.ts. */
struct CacheSpec {
  std::string file;
  int64_t rows;
  int64_t original, teacher, present;
};

/**
 * The two frozen embeddings of every image in one mapped file: fp32 [rows, d], fp32 [rows, d'] and a flag a row. A row's flag is set after
 * its embeddings, so a run that is killed at any moment leaves rows that are right or absent.
 */
class EmbeddingCache {
 public:
  /**
   * `pinned`: embeddings are read into memory that a GPU copies from by itself. Throws Error `bad_cache` when the file is too short for its
   * layout.
   */
  EmbeddingCache(const CacheSpec& spec, int64_t original_dim, int64_t teacher_dim, bool pinned);

  bool has(std::span<const uint32_t> rows) const;
  /** fp32 [rows.size(), d] copies; every row must be present. */
  at::Tensor original(std::span<const uint32_t> rows) const;
  at::Tensor teacher(std::span<const uint32_t> rows) const;
  void store(std::span<const uint32_t> rows, const at::Tensor& original, const at::Tensor& teacher);

  /** Throws Error `bad_row` when a row lies outside the file. */
  void check(std::span<const uint32_t> rows) const;

 private:
  at::Tensor gather(std::span<const uint32_t> rows, int64_t offset, int64_t dim) const;
  void scatter(std::span<const uint32_t> rows, int64_t offset, const at::Tensor& values);

  CacheSpec spec_;
  int64_t original_dim_, teacher_dim_;
  bool pinned_;
  MappedFile file_;
};

}  // namespace kuea
