#include "runtime/mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/error.h"

namespace kuea {

MappedFile::MappedFile(const std::string& path, Mode mode) {
  const auto fail = [&](int fd) {
    const std::string why = std::strerror(errno);
    if (fd >= 0) close(fd);
    throw Error("unreadable_file", "cannot map " + path + ": " + why);
  };
  const bool writable = mode == Mode::read_write;
  const int fd = open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0) fail(fd);
  struct stat info{};
  if (fstat(fd, &info) != 0) fail(fd);
  size_ = static_cast<size_t>(info.st_size);
  // A store into a hole that the disk has no room for would kill the process with SIGBUS; claim the blocks now.
  if (writable && size_ > 0) {
    const int code = posix_fallocate(fd, 0, info.st_size);
    if (code == ENOSPC || code == EDQUOT) {
      close(fd);
      throw Error("disk_full", "the disk has no room for " + path + " (" + std::to_string(size_ >> 20) + " MiB)");
    }
  }
  if (size_ > 0) {
    void* address = mmap(nullptr, size_, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (address == MAP_FAILED) fail(fd);
    data_ = static_cast<std::byte*>(address);
  }
  close(fd);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
}

void MappedFile::forget(size_t offset, size_t size) const {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page, end = std::min(offset + size, size_) / page * page;
  if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

}  // namespace kuea
