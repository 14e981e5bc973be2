#include "weights/write.h"

#include <cerrno>
#include <cstring>

#include <ATen/ops/contiguous.h>
#include <fcntl.h>
#include <unistd.h>

#include "runtime/error.h"

namespace kuea {
namespace {

class OutputFile {
 public:
  explicit OutputFile(const std::string& path) : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail("create");
  }

  ~OutputFile() {
    if (fd_ < 0) return;
    close(fd_);
    unlink(path_.c_str());
  }

  void append(const void* data, size_t size) {
    const auto* bytes = static_cast<const char*>(data);
    while (size > 0) {
      const auto written = write(fd_, bytes, size);
      if (written < 0) {
        if (errno == EINTR) continue;
        fail("write");
      }
      bytes += written;
      size -= static_cast<size_t>(written);
    }
  }

  /** Until here the destructor removes the file. */
  void finish() {
    if (fsync(fd_) != 0) fail("sync");
    const int fd = std::exchange(fd_, -1);
    if (close(fd) != 0) fail("close");
  }

 private:
  [[noreturn]] void fail(const char* what) {
    const int code = errno;
    if (code == ENOSPC || code == EDQUOT) {
      throw Error("disk_full", "the disk is full while writing " + path_ + ": free some space and go on with --resume");
    }
    throw Error("unwritable_file", std::string("cannot ") + what + " " + path_ + ": " + std::strerror(code));
  }

  std::string path_;
  int fd_;
};

}  // namespace

void write_tensors(const std::string& path, std::span<const std::byte> header, const std::vector<std::function<at::Tensor()>>& tensors) {
  OutputFile file(path);
  file.append(header.data(), header.size());
  for (const auto& make : tensors) {
    const auto tensor = make().to(at::kCPU).contiguous();
    file.append(tensor.const_data_ptr(), tensor.nbytes());
  }
  file.finish();
}

}  // namespace kuea
