#include "train/align_trainer.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cosine_similarity.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/ScopeExit.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include "runtime/error.h"

namespace kuea {
namespace {

std::vector<Parameter> kernel_parameters(const KernelParams& kernel) {
  return {{"kernel.gamma", kernel.gamma}, {"kernel.c", kernel.c}, {"kernel.sigma", kernel.sigma}};
}

void append(std::vector<Parameter>& list, const std::vector<Parameter>& more) { list.insert(list.end(), more.begin(), more.end()); }

int64_t total_of(const std::vector<int64_t>& counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

/** This rank's summand of the mean over the whole batch. */
at::Tensor mean(const at::Tensor& t, const std::vector<int64_t>& counts) { return t.sum() / static_cast<double>(total_of(counts)); }

}  // namespace

AlignTrainer::AlignTrainer(const AlignTrainerSpec& spec)
    : spec_(spec),
      student_(spec.student, spec.compute, spec.device),
      kernel_(kernel_params(spec.kernel, spec.device, spec.train_kernel)),
      optimizer_(spec.optimizer),
      ring_(std::make_shared<BatchRing>(spec.slots, spec.batch_size * 3 * spec.image_size * spec.image_size, spec.device)),
      uploads_(spec.device),
      guard_(spec.device) {
  student_.model().check_size(spec.image_size);
  if (spec.teacher) {
    original_.emplace(spec.student, spec.compute, spec.device);
    teacher_.emplace(*spec.teacher, spec.compute, spec.device);
    teacher_->model().check_size(spec.teacher_size);
  }
  student_.model().parameters().requires_grad(true);
  optimizer_.add_group(student_.model().parameters().all(), spec.weight_decay);
  optimizer_.add_group(kernel_parameters(kernel_), 0);
  if (spec.group) reducer_.emplace(student_.model().parameters().all(), spec.group);
}

std::vector<Parameter> AlignTrainer::tensors(State state) const {
  if (state == State::exp_avg) return optimizer_.exp_avg();
  if (state == State::exp_avg_sq) return optimizer_.exp_avg_sq();
  auto list = student_.model().parameters().all();
  append(list, kernel_parameters(kernel_));
  return list;
}

void AlignTrainer::open_cache(const CacheSpec& spec) {
  cache_.emplace(spec, student_.model().dim(), spec_.teacher_dim, !spec_.device.is_cpu());
}

void AlignTrainer::check_batch(size_t slot, int64_t count, std::optional<std::span<const uint32_t>> rows) const {
  if (slot >= ring_->count() || count < (spec_.group ? 0 : 1) || count > spec_.batch_size) {
    throw Error("bad_batch", "slot " + std::to_string(slot) + " with " + std::to_string(count) + " images, but the ring has " +
                                 std::to_string(ring_->count()) + " slots of " + std::to_string(spec_.batch_size));
  }
  if (!cache_ || !rows) return;
  if (static_cast<int64_t>(rows->size()) != count)
    throw Error("bad_batch", "a batch of " + std::to_string(count) + " images came with " + std::to_string(rows->size()) + " rows");
  cache_->check(*rows);
}

at::Tensor AlignTrainer::pixels(size_t slot, int64_t count) {
  return uploads_.upload(at::from_blob(ring_->slot(slot), {count, 3, spec_.image_size, spec_.image_size}, at::kByte));
}

at::Tensor AlignTrainer::by_micro_batch(const Encoder& encoder, const at::Tensor& pixels, int64_t size) const {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (const auto& part : pixels.split(spec_.micro_batch)) parts.push_back(encoder.embed(part, size));
  return at::cat(parts);
}

AlignTrainer::Frozen AlignTrainer::compute_frozen(const at::Tensor& pixels) const {
  if (!teacher_) throw Error("frozen_missing", "the embedding cache lacks a row, and the run was started without the frozen models");
  return {by_micro_batch(*original_, pixels, spec_.image_size), by_micro_batch(*teacher_, pixels, spec_.teacher_size)};
}

AlignTrainer::Frozen AlignTrainer::frozen(const at::Tensor& pixels, std::optional<std::span<const uint32_t>> rows) {
  if (pixels.size(0) == 0) {
    const auto none = [&](int64_t dim) { return at::empty({0, dim}, at::TensorOptions().dtype(at::kFloat).device(spec_.device)); };
    return {none(student_.model().dim()), none(spec_.teacher_dim)};
  }
  if (!cache_ || !rows) return compute_frozen(pixels);
  const auto upload = [&](const at::Tensor& t) { return t.to(spec_.device, t.scalar_type(), /*non_blocking=*/true); };
  if (const auto found = cache_->load(*rows)) return {upload(found->original), upload(found->teacher)};
  auto computed = compute_frozen(pixels);
  // Synchronises a GPU, until every row has been computed once.
  cache_->store(*rows, computed.original, computed.teacher);
  return computed;
}

int64_t AlignTrainer::embed(size_t slot, int64_t count, std::span<const uint32_t> rows) {
  check_batch(slot, count, rows);
  if (!cache_) throw Error("no_cache", "embed needs an open cache");
  if (cache_->has(rows)) return 0;
  const auto copied = c10::make_scope_exit([this] { uploads_.wait(); });
  frozen(pixels(slot, count), rows);
  return count;
}

/** How many images of the batch each rank has. */
std::vector<int64_t> AlignTrainer::batch_counts(int64_t count) const {
  const auto counts = spec_.group ? spec_.group->gather_counts(count) : std::vector<int64_t>{count};
  if (total_of(counts) == 0) throw Error("empty_batch", "none of the batch's images could be decoded, on any rank");
  return counts;
}

AlignTrainer::Losses AlignTrainer::losses(const at::Tensor& features, const Frozen& target, const std::vector<int64_t>& counts) const {
  const auto& group = spec_.group;
  std::optional<Gathered> all;
  auto teacher = target.teacher;
  if (group && !spec_.local_kernel) {
    const auto begin = std::accumulate(counts.begin(), counts.begin() + group->rank(), int64_t{0});
    all = Gathered{group->gather_rows(features, counts), begin, group->rank(), group->size(),
                   [group](const at::Tensor& t) { group->all_reduce(t); }};
    teacher = group->gather_rows(teacher, counts);
  }
  auto kernel_loss = (spec_.fused_loss ? kernel_alignment : kernel_alignment_plain)(features, teacher, kernel_, all);
  if (group && spec_.local_kernel) kernel_loss = kernel_loss / group->size();
  const auto anchor_loss = mean((features - target.original).square().sum(1), counts);
  return {spec_.w * kernel_loss + anchor_loss, kernel_loss, anchor_loss};
}

StepMetrics AlignTrainer::evaluate(size_t slot, int64_t count, std::optional<std::span<const uint32_t>> rows) {
  at::NoGradGuard no_grad;
  check_batch(slot, count, rows);
  const auto counts = batch_counts(count);
  const auto copied = c10::make_scope_exit([this] { uploads_.wait(); });
  const auto images = pixels(slot, std::max<int64_t>(count, 1)).narrow(0, 0, count);
  const auto target = frozen(images, rows);
  const auto features = count > 0 ? by_micro_batch(student_, images, spec_.image_size) : at::empty_like(target.original);
  const auto found = losses(features, target, counts);
  const auto cosine = mean(at::cosine_similarity(features, target.original, 1), counts);
  auto sums = at::stack({found.loss, found.kernel, found.anchor, cosine}).to(at::kDouble);
  if (spec_.group) spec_.group->all_reduce(sums);
  const auto host = sums.to(at::kCPU);
  const auto* value = host.const_data_ptr<double>();
  StepMetrics metrics{};
  std::tie(metrics.loss, metrics.kernel_loss, metrics.anchor_loss, metrics.cosine_to_original) =
      std::tie(value[0], value[1], value[2], value[3]);
  return metrics;
}

std::optional<StepMetrics> AlignTrainer::step(size_t slot, int64_t count, std::span<const uint32_t> rows, double lr, bool log) {
  const auto start = std::chrono::steady_clock::now();
  check_batch(slot, count, rows);
  // However it ends: what a step that failed has left would be added to the next one's.
  const auto cleared = c10::make_scope_exit([this] { clear_gradients(); });
  const auto& group = spec_.group;
  const auto counts = batch_counts(count);

  // The slot is free again when the step ends, however it ends.
  const auto copied = c10::make_scope_exit([this] { uploads_.wait(); });
  // A rank whose images were all undecodable embeds what is in the slot with a gradient of 0: the others wait for its gradients.
  const auto images = pixels(slot, std::max<int64_t>(count, 1));
  const auto target = frozen(images.narrow(0, 0, count), rows);

  // GradCache (Gao et al. 2021): the loss sees the whole batch whatever the micro-batch. One micro-batch keeps its graph; several are
  // embedded without one, and each is embedded again when its gradient is known.
  const auto parts = images.split(spec_.micro_batch);
  const auto with_graph = [&](const at::Tensor& part) { return student_.embed(part, spec_.image_size, spec_.activation_checkpointing); };
  const bool whole = parts.size() == 1;
  const auto embedded = whole ? with_graph(images) : by_micro_batch(student_, images, spec_.image_size);

  const auto features = embedded.detach().narrow(0, 0, count).requires_grad_();
  const auto [loss, kernel_loss, anchor_loss] = losses(features, target, counts);
  torch::autograd::backward({loss}, {});
  const auto terms = sum_terms({loss, kernel_loss, anchor_loss,
                                log ? mean(at::cosine_similarity(features.detach(), target.original, 1), counts) : at::zeros_like(loss)});
  const bool deferred = !spec_.device.is_cpu();
  const auto this_step = optimizer_.steps() + 1;
  // Where nothing waits for it, before the backward, which is most of the step.
  if (!deferred) {
    guard_.watch(terms, std::nullopt, this_step);
    guard_.check(this_step);
  }

  const auto gradient = (count > 0 ? features.grad() : at::zeros_like(embedded)).split(spec_.micro_batch);
  double reduce_seconds = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto backward = [&] { torch::autograd::backward({whole ? embedded : with_graph(parts[i])}, {gradient[i]}); };
    // Gradients of all micro-batches are summed here first; the last one's backward sends them.
    if (reducer_ && i + 1 == parts.size()) {
      reduce_seconds = reducer_->run(backward);
    } else {
      backward();
    }
  }
  const auto norm = clip_gradients();
  guard_.watch(terms, norm, this_step);
  if (log || !deferred) guard_.check(this_step);
  std::optional<StepMetrics> metrics;
  if (log) {
    const auto kernel = at::stack({kernel_.gamma, kernel_.c, kernel_.sigma}).detach().to(at::kDouble);
    const auto host = at::cat({terms.narrow(0, 0, 4), norm.reshape({1}), kernel}).to(at::kCPU);
    const auto* value = host.const_data_ptr<double>();
    metrics = {value[0], value[1], value[2], value[3], value[4], value[5], value[6], value[7], 0, std::nullopt, std::nullopt};
  }
  optimizer_.step(lr, deferred ? std::optional<at::Tensor>(guard_.found_inf()) : std::nullopt);
  const auto exchange_seconds = group ? group->take_seconds() : 0;
  if (metrics) {
    metrics->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!deferred) {
      metrics->exchange_seconds = exchange_seconds;
      metrics->reduce_seconds = reduce_seconds;
    }
  }
  return metrics;
}

void AlignTrainer::check() { guard_.check(optimizer_.steps()); }

/**
 * Adds up {loss, kernel, anchor, cosine} and the gradients of the kernel's parameters over the ranks; fp64, the first four are the losses.
 */
at::Tensor AlignTrainer::sum_terms(const std::vector<at::Tensor>& terms) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> scalars = terms, gradients;
  for (const auto& parameter : kernel_parameters(kernel_)) {
    if (parameter.value.grad().defined()) gradients.push_back(parameter.value.grad());
  }
  scalars.insert(scalars.end(), gradients.begin(), gradients.end());
  const auto sums = at::stack(scalars).to(at::kDouble);
  if (spec_.group) {
    spec_.group->all_reduce(sums);
    for (size_t i = 0; i < gradients.size(); ++i) gradients[i].copy_(sums[static_cast<int64_t>(terms.size() + i)]);
  }
  return sums;
}

/**
 * The L2 norm of the whole gradient, fp64 [], which is then scaled down to max_grad_norm as torch.nn.utils.clip_grad_norm_ does. Every rank
 * has the sums over all ranks, and so the same bits.
 */
at::Tensor AlignTrainer::clip_gradients() {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const auto& parameter : tensors(State::value)) {
    if (parameter.value.grad().defined()) gradients.push_back(parameter.value.grad());
  }
  const auto norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)).to(at::kDouble));
  if (spec_.max_grad_norm > 0) at::_foreach_mul_(gradients, (spec_.max_grad_norm / (norm + 1e-6)).clamp_max(1).to(at::kFloat));
  return norm;
}

void AlignTrainer::clear_gradients() {
  for (const auto& parameter : tensors(State::value)) parameter.value.mutable_grad().reset();
}

void AlignTrainer::restore(const std::vector<LoadStep>& values, const std::vector<LoadStep>& exp_avg,
                           const std::vector<LoadStep>& exp_avg_sq, int64_t steps) {
  const auto& group = spec_.group;
  const std::pair<State, const std::vector<LoadStep>*> states[]{
      {State::value, &values}, {State::exp_avg, &exp_avg}, {State::exp_avg_sq, &exp_avg_sq}};
  for (const auto& [state, plan] : states) {
    const auto list = tensors(state);
    if (!group || group->rank() == 0) load_tensors(list, *plan);
    if (!group) continue;
    for (const auto& parameter : list) {
      group->broadcast(parameter.value.detach());
      // Modules know by it that their copies are old.
      torch::autograd::impl::bump_version(parameter.value);
    }
  }
  optimizer_.set_steps(steps);
}

}  // namespace kuea
