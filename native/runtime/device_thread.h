#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace kuea {

/**
 * The one thread of this process that calls libtorch, in the order in which jobs were posted. libtorch keeps grad mode, the current device
 * and the stream in thread-locals, and the libuv pool belongs to sharp and fs: hence neither that pool nor the JavaScript thread.
 */
class DeviceThread {
 public:
  /** Started at first use and never destroyed: its thread must outlive static destructors. */
  static DeviceThread& instance();

  /** `owner` identifies who may cancel: one Node environment. A job must not throw. */
  void post(uint64_t owner, std::function<void()> job);

  /** Drops `owner`'s waiting jobs, and returns when none of its jobs is running. Not to be called on the device thread. */
  void cancel(uint64_t owner);

 private:
  struct Job {
    uint64_t owner;
    std::function<void()> run;
  };

  DeviceThread();
  void loop();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable finished_;
  std::deque<Job> queue_;
  uint64_t running_ = 0;
  std::thread thread_;
};

}  // namespace kuea
