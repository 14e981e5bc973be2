#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include "dist/heartbeat.h"

namespace c10d {
class Backend;
class ProcessGroup;
class Store;
class Work;
}  // namespace c10d

namespace kuea {

/** ProcessGroupSpec in lib/native/addon.ts. */
struct ProcessGroupSpec {
  int rank, size, local_rank;
  std::string master_addr;
  uint16_t master_port;
  bool nccl;
  std::chrono::milliseconds join, timeout, watchdog;
};

/** Where other threads leave word for the device thread, and the other way round. Outlives its group. */
struct GroupSignals {
  std::atomic<bool> stop_wanted{false}, stop_agreed{false};
  std::atomic<int> lost{-1};
  /** When the store last answered the heartbeat. */
  std::atomic<std::chrono::steady_clock::time_point> heard{};
  /**
   * A rank that has been silent for the watchdog's time, or -1. Rank 0 when the store is: it may be stopped, or its machine out of reach.
   */
  int silent(std::chrono::milliseconds watchdog) const;
};

/**
 * All processes that train together: c10d's TCPStore, hosted by rank 0, and its process group (Gloo for CPU tensors, NCCL for CUDA ones).
 * Every function that talks to the other ranks is called by all of them in the same order, with tensors of the same shapes, on the device
 * thread; it throws Error `rank_failed` when one of them has gone or does not answer in time.
 */
class ProcessGroup {
 public:
  /** Waits for all ranks. Throws Error `port_in_use`, `unreachable_master` or `rank_failed`. */
  static std::shared_ptr<ProcessGroup> open(const ProcessGroupSpec& spec);
  /** The group that is open in this process. Throws Error `no_process_group`. */
  static std::shared_ptr<ProcessGroup> current();
  ~ProcessGroup();

  int64_t rank() const { return spec_.rank; }
  int64_t size() const { return spec_.size; }
  const ProcessGroupSpec& spec() const { return spec_; }
  const std::shared_ptr<GroupSignals>& signals() const { return signals_; }
  /** For c10d's own classes. */
  const c10::intrusive_ptr<c10d::ProcessGroup>& c10d() const { return group_; }

  /** A text of every rank, over the store. */
  std::vector<std::string> gather(const std::string& name, const std::string& value) { return gather(name, value, spec_.timeout); }
  /** A number of every rank; also tells the others that this one wants to stop. */
  std::vector<int64_t> gather_counts(int64_t count);
  /** [counts[rank], ...] of this rank becomes [sum of counts, ...], in the order of ranks. No autograd. */
  at::Tensor gather_rows(const at::Tensor& rows, std::span<const int64_t> counts);
  /** The sum over ranks, in place and with the same bits on each. */
  void all_reduce(const at::Tensor& tensor);
  /** Rank 0's values, in place. */
  void broadcast(const at::Tensor& tensor);
  /** From [size * n] of every rank to the sum of this rank's n; and back: [n] of every rank to [size * n]. Contiguous. */
  void reduce_scatter(const at::Tensor& shard, const at::Tensor& whole);
  void all_gather(const at::Tensor& whole, const at::Tensor& shard);

  /** Runs what talks to other ranks by itself (a backward with a reducer) and turns its failures into `rank_failed`. */
  void guard(const char* what, const std::function<void()>& work);

  /** Seconds in exchanges of tensors and counts since it was last asked. */
  double take_seconds();

 private:
  explicit ProcessGroup(const ProcessGroupSpec& spec);
  std::vector<std::string> gather(const std::string& name, const std::string& value, std::chrono::milliseconds timeout);
  void exchange(const char* what, const at::Tensor& on, const std::function<c10::intrusive_ptr<c10d::Work>(c10d::Backend&)>& start);

  ProcessGroupSpec spec_;
  std::shared_ptr<GroupSignals> signals_ = std::make_shared<GroupSignals>();
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  std::optional<Heartbeat> heartbeat_;
  std::map<std::string, int> gathered_;
  double seconds_ = 0;
  bool failed_ = false;
};

}  // namespace kuea
