#include "dist/process_group.h"

#include <algorithm>
#include <new>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "dist/backend.h"
#include "runtime/error.h"

namespace kuea {
namespace {

std::weak_ptr<ProcessGroup> opened;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

c10::intrusive_ptr<c10d::Store> connect(const ProcessGroupSpec& spec, bool server, std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = spec.master_port;
  options.isServer = server;
  options.waitWorkers = false;
  options.timeout = timeout;
  const auto place = spec.master_addr + ":" + std::to_string(spec.master_port);
  try {
    return c10::make_intrusive<c10d::TCPStore>(spec.master_addr, options);
  } catch (const c10::Error& e) {
    const std::string why = e.what_without_backtrace();
    if (server && why.find("EADDRINUSE") != std::string::npos) {
      throw Error("port_in_use", "rank 0 cannot listen on port " + std::to_string(spec.master_port) +
                                     ": another process has it; choose another MASTER_PORT (--master-port)");
    }
    throw Error("unreachable_master", "rank " + std::to_string(spec.rank) + " cannot reach rank 0 at " + place + " within " +
                                          std::to_string(timeout.count() / 1000) +
                                          " s: is it running there, and does a firewall let the port through? (" + first_line(why) + ")");
  }
}

}  // namespace

int GroupSignals::silent(std::chrono::milliseconds watchdog) const {
  if (lost >= 0) return lost;
  return std::chrono::steady_clock::now() - heard.load() > watchdog ? 0 : -1;
}

std::shared_ptr<ProcessGroup> ProcessGroup::open(const ProcessGroupSpec& spec) {
  if (!opened.expired()) throw Error("process_group_open", "this process has joined a process group already");
  std::shared_ptr<ProcessGroup> group(new ProcessGroup(spec));
  opened = group;
  return group;
}

std::shared_ptr<ProcessGroup> ProcessGroup::current() {
  auto group = opened.lock();
  if (!group) throw Error("no_process_group", "a distributed trainer needs an open process group");
  return group;
}

ProcessGroup::ProcessGroup(const ProcessGroupSpec& spec) : spec_(spec), store_(connect(spec, spec.rank == 0, spec.join)) {
  Heartbeat::announce(*store_, spec_.rank);
  gather("join", "", spec_.join);
  guard("connecting", [&] { group_ = make_process_group(store_, spec_); });
  const auto heard = [signals = signals_] { signals->heard = std::chrono::steady_clock::now(); };
  heard();
  heartbeat_.emplace(connect(spec_, false, spec_.watchdog), spec_.rank, spec_.size, spec_.watchdog, heard,
                     [signals = signals_](int rank) { signals->lost = rank; });
}

ProcessGroup::~ProcessGroup() {
  heartbeat_.reset();
  if (failed_ || signals_->lost >= 0) return;
  // The store goes with rank 0, which therefore leaves last. Whoever does not say good-bye has failed, and is not waited for long.
  const auto key = [](int rank) { return "kuea/left/" + std::to_string(rank); };
  try {
    if (spec_.rank != 0) {
      store_->set(key(spec_.rank), std::vector<uint8_t>{1});
      return;
    }
    std::vector<std::string> keys;
    for (int rank = 1; rank < spec_.size; ++rank) keys.push_back(key(rank));
    store_->wait(keys, std::chrono::seconds(5));
  } catch (const std::exception&) {
  }
}

std::vector<std::string> ProcessGroup::gather(const std::string& name, const std::string& value, std::chrono::milliseconds timeout) {
  const auto round = "kuea/" + name + "/" + std::to_string(gathered_[name]++) + "/";
  const auto key = [&](int rank) { return round + std::to_string(rank); };
  std::vector<std::string> values;
  guard(name.c_str(), [&] {
    store_->set(key(spec_.rank), std::vector<uint8_t>(value.begin(), value.end()));
    std::vector<std::string> keys;
    for (int rank = 0; rank < spec_.size; ++rank) keys.push_back(key(rank));
    try {
      store_->wait(keys, timeout);
    } catch (const c10::Error&) {
      std::string missing;
      for (int rank = 0; rank < spec_.size; ++rank) {
        if (!store_->check({key(rank)})) missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
      }
      if (missing.empty()) throw;
      failed_ = true;
      throw Error("rank_failed", "rank " + missing + " did not come to \"" + name + "\" within " + std::to_string(timeout.count() / 1000) +
                                     " s (of " + std::to_string(spec_.size) + " ranks)");
    }
    for (const auto& bytes : store_->multiGet(keys)) values.emplace_back(bytes.begin(), bytes.end());
  });
  return values;
}

void ProcessGroup::guard(const char* what, const std::function<void()>& work) {
  const auto fail = [&](const std::string& why) {
    failed_ = true;
    throw Error("rank_failed", "rank " + std::to_string(spec_.rank) + " lost another rank in \"" + what + "\": " + first_line(why));
  };
  try {
    work();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const c10::DistError& e) {
    fail(e.what_without_backtrace());
  } catch (const c10::Error&) {
    throw;
  } catch (const std::exception& e) {
    // Gloo's exceptions have no type that its users can see.
    fail(e.what());
  }
}

double ProcessGroup::take_seconds() { return std::exchange(seconds_, 0); }

void ProcessGroup::exchange(const char* what, const at::Tensor& on,
                            const std::function<c10::intrusive_ptr<c10d::Work>(c10d::Backend&)>& start) {
  const auto since = std::chrono::steady_clock::now();
  guard(what, [&] { start(*group_->getBackend(on.device().type()))->wait(); });
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

std::vector<int64_t> ProcessGroup::gather_counts(int64_t count) {
  auto mine = at::empty({2}, at::kLong), all = at::empty({2 * size()}, at::kLong);
  mine.mutable_data_ptr<int64_t>()[0] = count;
  mine.mutable_data_ptr<int64_t>()[1] = signals_->stop_wanted;
  all_gather(all, mine);
  std::vector<int64_t> counts;
  for (int64_t rank = 0; rank < size(); ++rank) {
    const auto* pair = all.const_data_ptr<int64_t>() + 2 * rank;
    counts.push_back(pair[0]);
    if (pair[1] != 0) signals_->stop_agreed = true;
  }
  return counts;
}

at::Tensor ProcessGroup::gather_rows(const at::Tensor& rows, std::span<const int64_t> counts) {
  const auto most = *std::max_element(counts.begin(), counts.end());
  auto shape = rows.sizes().vec();
  // Backends want the same shape of everybody.
  shape[0] = most;
  auto padded = at::zeros(shape, rows.options().requires_grad(false));
  padded.narrow(0, 0, rows.size(0)).copy_(rows.detach());
  shape[0] = most * size();
  auto all = at::empty(shape, padded.options());
  all_gather(all, padded);
  std::vector<at::Tensor> parts;
  for (int64_t rank = 0; rank < size(); ++rank) parts.push_back(all.narrow(0, rank * most, counts[static_cast<size_t>(rank)]));
  return at::cat(parts);
}

void ProcessGroup::all_reduce(const at::Tensor& tensor) {
  std::vector<at::Tensor> tensors{tensor};
  exchange("all_reduce", tensor, [&](c10d::Backend& b) { return b.allreduce(tensors); });
}

void ProcessGroup::broadcast(const at::Tensor& tensor) {
  std::vector<at::Tensor> tensors{tensor};
  exchange("broadcast", tensor, [&](c10d::Backend& b) { return b.broadcast(tensors); });
}

void ProcessGroup::reduce_scatter(const at::Tensor& shard, const at::Tensor& whole) {
  auto output = shard, input = whole;
  exchange("reduce_scatter", shard, [&](c10d::Backend& b) { return b._reduce_scatter_base(output, input); });
}

void ProcessGroup::all_gather(const at::Tensor& whole, const at::Tensor& shard) {
  auto output = whole, input = shard;
  exchange("all_gather", shard, [&](c10d::Backend& b) { return b._allgather_base(output, input); });
}

}  // namespace kuea
