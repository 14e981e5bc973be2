#include "dist/gradient_reducer.h"

#include <algorithm>

#include <torch/csrc/distributed/c10d/reducer.hpp>

namespace kuea {

/** Without a hook of its own the Reducer divides by the number of ranks. */
class GradientReducer::Sum final : public c10d::CppCommHookInterface<c10::intrusive_ptr<c10d::ProcessGroup>> {
 public:
  using CppCommHookInterface::CppCommHookInterface;

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    std::vector<at::Tensor> tensors{bucket.getBufferRef()};
    auto future = state_->allreduce(tensors)->getFuture();
    last_started = std::chrono::steady_clock::now();
    return future;
  }

  std::chrono::steady_clock::time_point last_started;
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
  group_->guard("reducing gradients", [&] {
    // After the first step it knows in which order gradients come, and sorts its buckets by that, once.
    reducer_->rebuild_buckets();
    reducer_->prepare_for_backward({});
    backward();
  });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - sum_->last_started).count();
}

}  // namespace kuea
