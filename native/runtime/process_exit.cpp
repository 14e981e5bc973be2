#include "runtime/process_exit.h"

#include <atomic>
#include <cstdlib>

#include <unistd.h>

namespace kuea {
namespace {

std::atomic<int> at_work{0};
std::atomic<bool> exiting{false};

void leave(int status, void*) {
  exiting = true;
  // Threads that come later see `exiting`; those that came before are counted.
  if (at_work > 0) _exit(status);
}

}  // namespace

AtWork::AtWork() {
  ++at_work;
  if (!exiting) return;
  --at_work;
  for (;;) pause();
}

AtWork::~AtWork() { --at_work; }

void guard_exit() {
  // atexit's handlers do not learn the exit code.
  on_exit(leave, nullptr);
}

}  // namespace kuea
