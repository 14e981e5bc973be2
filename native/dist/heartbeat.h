#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Store;
}

namespace kuea {

/**
 * A thread that says once a second through the store that this process lives, and listens to the others. A process that is killed, stopped
 * or whose machine has gone is silent, whatever its peers wait for.
 */
class Heartbeat {
 public:
  /**
   * `store` is this thread's own connection; every rank must have called announce. `heard` is called each time that the store has answered:
   * it does not when rank 0 is stopped or out of reach, and this thread then waits for it as long as TCP does. `lost` is called with the
   * rank that was silent for so long.
   */
  Heartbeat(c10::intrusive_ptr<c10d::Store> store, int rank, int size, std::chrono::milliseconds patience, std::function<void()> heard,
            std::function<void(int)> lost);
  ~Heartbeat();

  /** The first beat. */
  static void announce(c10d::Store& store, int rank);

 private:
  void run(int rank, int size, std::chrono::milliseconds patience);

  c10::intrusive_ptr<c10d::Store> store_;
  std::function<void()> heard_;
  std::function<void(int)> lost_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace kuea
