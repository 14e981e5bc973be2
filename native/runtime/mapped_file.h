#pragma once

#include <cstddef>
#include <string>

namespace kuea {

/** A file mapped into memory; for writing its blocks are claimed first. Throws Error `unreadable_file` or `disk_full`. */
class MappedFile {
 public:
  enum class Mode { read, read_write };

  explicit MappedFile(const std::string& path, Mode mode = Mode::read);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /** Takes the pages that lie wholly in [offset, offset + size) out of this process's memory; they are read again when touched. */
  void forget(size_t offset, size_t size) const;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace kuea
