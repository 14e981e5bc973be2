#include "runtime/device_thread.h"

#include <utility>

#include "runtime/process_exit.h"

namespace kuea {

DeviceThread& DeviceThread::instance() {
  static auto* thread = new DeviceThread();
  return *thread;
}

DeviceThread::DeviceThread() : thread_([this] { loop(); }) { thread_.detach(); }

void DeviceThread::post(uint64_t owner, std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({owner, std::move(job)});
  }
  arrived_.notify_one();
}

void DeviceThread::cancel(uint64_t owner) {
  // Destroyed after the lock is released: a job may own what posts again.
  std::deque<Job> dropped;
  std::unique_lock lock(mutex_);
  std::deque<Job> kept;
  for (auto& job : queue_) (job.owner == owner ? dropped : kept).push_back(std::move(job));
  queue_.swap(kept);
  finished_.wait(lock, [&] { return running_ != owner; });
  lock.unlock();
}

void DeviceThread::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    arrived_.wait(lock, [this] { return !queue_.empty(); });
    Job job = std::move(queue_.front());
    queue_.pop_front();
    running_ = job.owner;
    lock.unlock();
    {
      const AtWork at_work;
      job.run();
      job.run = nullptr;
    }
    lock.lock();
    running_ = 0;
    finished_.notify_all();
  }
}

}  // namespace kuea
