#pragma once

namespace kuea {

/**
 * What happens when the process ends while native work runs. exit() destroys libtorch's static objects under the threads that use them,
 * which ends in SIGSEGV: therefore, once it has begun, no thread of ours begins anything, and where one is at work the process ends at
 * once, with the exit code that it was given.
 */

/** Held by a thread of ours while it uses libtorch. Once exit() has begun, making one never returns. */
class AtWork {
 public:
  AtWork();
  ~AtWork();
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;
};

/**
 * Registers this with exit(), which calls the handlers in the reverse of their order: to be called as late as possible, so that nothing
 * that was made since is destroyed before. May be called again.
 */
void guard_exit();

}  // namespace kuea
