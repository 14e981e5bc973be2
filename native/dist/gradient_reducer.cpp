#include "dist/gradient_reducer.h"

#include <algorithm>
#include <atomic>

#include <torch/csrc/distributed/c10d/reducer.hpp>

namespace kuea {

/** Without a hook of its own the Reducer divides by the number of ranks. */
class GradientReducer::Sum final : public c10d::CppCommHookInterface<c10::intrusive_ptr<c10d::ProcessGroup>> {
 public:
  using CppCommHookInterface::CppCommHookInterface;

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    std::vector<at::Tensor> tensors{bucket.getBufferRef()};
    // Until it has succeeded: an exception of Gloo has no type of its own, and comes out of the backward like any other.
    *failed = true;
    auto future = state_->allreduce(tensors)->getFuture();
    *failed = false;
    future->addCallback([failed = failed](c10::ivalue::Future& done) {
      if (done.hasError()) *failed = true;
    });
    last_started = std::chrono::steady_clock::now();
    return future;
  }

  std::chrono::steady_clock::time_point last_started;
  /** Whether an exchange did; set by the threads of c10d too. */
  std::shared_ptr<std::atomic<bool>> failed = std::make_shared<std::atomic<bool>>(false);
};

GradientReducer::GradientReducer(const std::vector<Parameter>& parameters, std::shared_ptr<ProcessGroup> group) : group_(std::move(group)) {
  std::vector<at::Tensor> tensors;
  for (const auto& parameter : parameters) tensors.push_back(parameter.value);
  const std::vector<bool> sparse(tensors.size(), false);
  auto buckets =
      std::get<0>(c10d::compute_bucket_assignment_by_size(tensors, {c10d::kDefaultFirstBucketBytes, c10d::kDefaultBucketBytesCap}, sparse));
  // Gradients come from the last layer to the first.
  std::reverse(buckets.begin(), buckets.end());
  constexpr bool find_unused = false, views = true;
  reducer_ = std::make_unique<c10d::Reducer>(tensors, buckets, group_->c10d(), sparse, c10d::kDefaultBucketBytesCap, find_unused, views,
                                             std::unordered_map<size_t, std::string>{}, c10d::kDefaultFirstBucketBytes, false, false,
                                             std::vector<int64_t>{});
  auto sum = std::make_unique<Sum>(group_->c10d());
  sum_ = sum.get();
  reducer_->register_comm_hook(std::move(sum));
}

GradientReducer::~GradientReducer() = default;

double GradientReducer::run(const std::function<void()>& backward) {
  constexpr auto what = "reducing gradients";
  group_->guard(what, [&] {
    // After the first step it knows in which order gradients come, and sorts its buckets by that, once.
    reducer_->rebuild_buckets();
    reducer_->prepare_for_backward({});
  });
  try {
    backward();
  } catch (...) {
    // What the backward itself throws is no loss of a rank.
    if (!*sum_->failed) throw;
    group_->guard(what, [] { throw; });
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - sum_->last_started).count();
}

}  // namespace kuea
