#include "runtime/mapped_file.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <set>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/error.h"

namespace kuea {
namespace {

std::mutex mutex;
std::set<const MappedFile*>& mapped() {
  static auto* files = new std::set<const MappedFile*>();
  return *files;
}

/** What the signal handler may read, which can take no lock: the first of the mapped files, more than any model has. */
struct Range {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<const char*> path{nullptr};
};
std::array<Range, 512> ranges;

void say(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

void on_bus_error(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const auto& range : ranges) {
    if (address < range.begin || address >= range.end) continue;
    say("kuea: file_changed: ");
    say(range.path);
    say(" was cut short while it was in use, or its disk failed: restore it, and start again or go on with --resume\n");
    _exit(74);
  }
  // Not ours: the instruction is run again, and ends the process as it would have.
  std::signal(SIGBUS, SIG_DFL);
}

void install_handler() {
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  struct sigaction old{};
  // Whoever else handles it was here first.
  if (sigaction(SIGBUS, nullptr, &old) == 0 && old.sa_handler == SIG_DFL) sigaction(SIGBUS, &action, nullptr);
}

void remember(const MappedFile& file) {
  static std::once_flag once;
  std::call_once(once, install_handler);
  const std::lock_guard lock(mutex);
  mapped().insert(&file);
  const auto range = std::find_if(ranges.begin(), ranges.end(), [](const Range& r) { return r.begin == 0; });
  if (range == ranges.end()) return;
  range->path = file.path().c_str();
  range->end = reinterpret_cast<uintptr_t>(file.data()) + file.size();
  range->begin = reinterpret_cast<uintptr_t>(file.data());
}

void forget_file(const MappedFile& file) {
  const std::lock_guard lock(mutex);
  mapped().erase(&file);
  for (auto& range : ranges) {
    if (range.begin == reinterpret_cast<uintptr_t>(file.data())) range.begin = range.end = 0;
  }
}

}  // namespace

MappedFile::MappedFile(const std::string& path, Mode mode)
    : path_(path), writable_(mode == Mode::read_write), fd_(open(path.c_str(), (writable_ ? O_RDWR : O_RDONLY) | O_CLOEXEC)) {
  const auto fail = [&] {
    const std::string why = std::strerror(errno);
    if (fd_ >= 0) close(fd_);
    throw Error("unreadable_file", "cannot map " + path + ": " + why);
  };
  if (fd_ < 0) fail();
  struct stat info{};
  if (fstat(fd_, &info) != 0) fail();
  size_ = static_cast<size_t>(info.st_size);
  modified_ = info.st_mtim;
  // A store into a hole that the disk has no room for would kill the process with SIGBUS; claim the blocks now.
  if (writable_ && size_ > 0) {
    const int code = posix_fallocate(fd_, 0, info.st_size);
    if (code == ENOSPC || code == EDQUOT) {
      close(fd_);
      throw Error("disk_full", "the disk has no room for " + path + " (" + std::to_string(size_ >> 20) + " MiB)");
    }
  }
  if (size_ == 0) return;
  void* address = mmap(nullptr, size_, PROT_READ | (writable_ ? PROT_WRITE : 0), MAP_SHARED, fd_, 0);
  if (address == MAP_FAILED) fail();
  data_ = static_cast<std::byte*>(address);
  remember(*this);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    forget_file(*this);
    munmap(data_, size_);
  }
  close(fd_);
}

void MappedFile::forget(size_t offset, size_t size) const {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page, end = std::min(offset + size, size_) / page * page;
  if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

bool MappedFile::changed() const {
  struct stat info{};
  if (fstat(fd_, &info) != 0 || static_cast<size_t>(info.st_size) != size_) return true;
  return !writable_ && (info.st_mtim.tv_sec != modified_.tv_sec || info.st_mtim.tv_nsec != modified_.tv_nsec);
}

std::vector<std::string> changed_files() {
  const std::lock_guard lock(mutex);
  std::vector<std::string> paths;
  for (const auto* file : mapped()) {
    if (file->changed()) paths.push_back(file->path());
  }
  return paths;
}

}  // namespace kuea
