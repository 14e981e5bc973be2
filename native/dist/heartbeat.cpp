#include "dist/heartbeat.h"

#include <exception>
#include <vector>

#include <torch/csrc/distributed/c10d/Store.hpp>

#include "runtime/process_exit.h"

namespace kuea {
namespace {

constexpr std::chrono::seconds interval{1};

std::string key(int rank) { return "kuea/beat/" + std::to_string(rank); }

std::vector<uint8_t> beat(uint64_t count) {
  const auto text = std::to_string(count);
  return {text.begin(), text.end()};
}

}  // namespace

void Heartbeat::announce(c10d::Store& store, int rank) { store.set(key(rank), beat(0)); }

Heartbeat::Heartbeat(c10::intrusive_ptr<c10d::Store> store, int rank, int size, std::chrono::milliseconds patience,
                     std::function<void()> heard, std::function<void(int)> lost)
    : store_(std::move(store)), heard_(std::move(heard)), lost_(std::move(lost)), thread_([=, this] { run(rank, size, patience); }) {}

Heartbeat::~Heartbeat() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Heartbeat::run(int rank, int size, std::chrono::milliseconds patience) {
  using Clock = std::chrono::steady_clock;
  struct Peer {
    std::vector<uint8_t> last;
    Clock::time_point since = Clock::now();
  };
  std::vector<std::string> keys;
  for (int peer = 0; peer < size; ++peer) keys.push_back(key(peer));
  std::vector<Peer> peers(keys.size());
  auto woke = Clock::now();
  std::unique_lock lock(mutex_);
  for (uint64_t count = 1; !stopped_; ++count) {
    lock.unlock();
    const AtWork at_work;
    std::vector<std::vector<uint8_t>> beats;
    try {
      store_->set(keys[static_cast<size_t>(rank)], beat(count));
      beats = store_->multiGet(keys);
    } catch (const std::exception&) {
      // The store lives in rank 0.
      lost_(0);
      return;
    }
    heard_();
    const auto now = Clock::now();
    // A process that was stopped itself has heard nobody meanwhile.
    const bool slept = now - woke > interval + patience / 2;
    woke = now;
    for (size_t peer = 0; peer < peers.size(); ++peer) {
      if (slept || beats[peer] != peers[peer].last) {
        peers[peer] = {beats[peer], now};
      } else if (now - peers[peer].since > patience) {
        lost_(static_cast<int>(peer));
        return;
      }
    }
    lock.lock();
    wake_.wait_for(lock, interval, [this] { return stopped_; });
  }
}

}  // namespace kuea
