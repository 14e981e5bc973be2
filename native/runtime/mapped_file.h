#pragma once

#include <cstddef>
#include <ctime>
#include <string>
#include <vector>

namespace kuea {

/**
 * A file mapped into memory; for writing its blocks are claimed first. Throws Error `unreadable_file` or `disk_full`.
 *
 * Whoever cuts a mapped file short takes the ground from under those who read it: the process then ends with a line that names the file,
 * and exit code 74 (EX_IOERR of sysexits.h), instead of SIGBUS without a word.
 */
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

  const std::string& path() const { return path_; }

  /** Whether the file has another size than when it was mapped or, if it was mapped for reading, was written since. */
  bool changed() const;

 private:
  std::string path_;
  bool writable_;
  /** Kept open: another file that takes the path does not change what is mapped. */
  int fd_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  timespec modified_{};
};

/** Paths of the files that are mapped now and have changed(): what was computed from them since may be wrong. */
std::vector<std::string> changed_files();

}  // namespace kuea
