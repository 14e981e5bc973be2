#include "optim/sharded_adamw.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>

namespace kuea {
namespace {

int64_t part(const FlatParameters& parameters, const std::shared_ptr<ProcessGroup>& group) {
  return parameters.value().size(0) / (group ? group->size() : 1);
}

}  // namespace

ShardedAdamW::ShardedAdamW(FlatParameters& parameters, std::shared_ptr<ProcessGroup> group, AdamW::Options options, double weight_decay,
                           int64_t decayed)
    : parameters_(parameters),
      group_(std::move(group)),
      begin_(group_ ? group_->rank() * part(parameters, group_) : 0),
      count_(part(parameters, group_)),
      grad_(group_ ? at::empty({count_}, parameters.grad().options()) : parameters.grad()),
      optimizer_(range(parameters.value()), grad_, options, weight_decay, std::clamp<int64_t>(decayed - begin_, 0, count_)) {
  if (!group_) whole_ = {optimizer_.exp_avg(), optimizer_.exp_avg_sq()};
}

at::Tensor ShardedAdamW::range(const at::Tensor& whole) const { return whole.narrow(0, begin_, count_); }

at::Tensor ShardedAdamW::reduce() {
  if (group_) group_->reduce_scatter(grad_, parameters_.grad());
  return grad_;
}

void ShardedAdamW::step(double lr) {
  optimizer_.step(lr);
  // A copy of this rank's range: backends do not say that input and output may overlap.
  if (group_) group_->all_gather(parameters_.value(), range(parameters_.value()).clone());
  parameters_.refresh();
}

void ShardedAdamW::gather() {
  if (!group_) return;
  make_room();
  group_->all_gather(whole_.exp_avg, optimizer_.exp_avg());
  group_->all_gather(whole_.exp_avg_sq, optimizer_.exp_avg_sq());
  if (group_->rank() > 0) drop();
}

void ShardedAdamW::make_room() {
  if (group_) whole_ = {at::zeros_like(parameters_.value()), at::zeros_like(parameters_.value())};
}

void ShardedAdamW::spread(int64_t steps) {
  if (group_) {
    if (!whole_.exp_avg.defined()) make_room();
    for (const auto& tensor : {parameters_.value(), whole_.exp_avg, whole_.exp_avg_sq}) group_->broadcast(tensor);
    optimizer_.exp_avg().copy_(range(whole_.exp_avg));
    optimizer_.exp_avg_sq().copy_(range(whole_.exp_avg_sq));
    drop();
  }
  parameters_.refresh();
  optimizer_.set_steps(steps);
}

void ShardedAdamW::drop() {
  if (group_) whole_ = {};
}

}  // namespace kuea
