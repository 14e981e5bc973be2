#include "train/align_trainer.h"

#include <chrono>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cosine_similarity.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <torch/csrc/autograd/autograd.h>

#include "runtime/error.h"

namespace kuea {
namespace {

std::vector<Parameter> kernel_parameters(const KernelParams& kernel) {
  return {{"kernel.gamma", kernel.gamma}, {"kernel.c", kernel.c}, {"kernel.sigma", kernel.sigma}};
}

KernelParams make_kernel(const TrainerSpec& spec) {
  const auto scalar = [&](double value) { return at::full({}, value, at::TensorOptions().dtype(at::kFloat).device(spec.device)); };
  KernelParams kernel{spec.kernel, scalar(spec.gamma), scalar(spec.c), scalar(spec.sigma), spec.sigma_teacher};
  for (const auto& parameter : kernel_parameters(kernel)) parameter.value.set_requires_grad(spec.train_kernel);
  return kernel;
}

void append(std::vector<Parameter>& list, const std::vector<Parameter>& more) { list.insert(list.end(), more.begin(), more.end()); }

}  // namespace

AlignTrainer::AlignTrainer(const TrainerSpec& spec)
    : spec_(spec),
      student_(spec.student, spec.compute, spec.device),
      kernel_(make_kernel(spec)),
      optimizer_(spec.optimizer),
      ring_(std::make_shared<BatchRing>(spec.slots, spec.batch_size * 3 * spec.image_size * spec.image_size)) {
  student_.model().check_size(spec.image_size);
  if (spec.teacher) {
    original_.emplace(spec.student, spec.compute, spec.device);
    teacher_.emplace(*spec.teacher, spec.compute, spec.device);
    teacher_->model().check_size(spec.teacher_size);
  }
  student_.model().parameters().requires_grad(true);
  optimizer_.add_group(student_.model().parameters().all(), spec.weight_decay);
  optimizer_.add_group(kernel_parameters(kernel_), 0);
}

std::vector<Parameter> AlignTrainer::tensors(State state) const {
  if (state == State::exp_avg) return optimizer_.exp_avg();
  if (state == State::exp_avg_sq) return optimizer_.exp_avg_sq();
  auto list = student_.model().parameters().all();
  append(list, kernel_parameters(kernel_));
  return list;
}

void AlignTrainer::open_cache(const CacheSpec& spec) { cache_.emplace(spec, student_.model().dim(), spec_.teacher_dim); }

void AlignTrainer::check_batch(size_t slot, int64_t count, std::span<const uint32_t> rows) const {
  if (slot >= ring_->count() || count < 1 || count > spec_.batch_size) {
    throw Error("bad_batch", "slot " + std::to_string(slot) + " with " + std::to_string(count) + " images, but the ring has " + std::to_string(ring_->count()) +
                                 " slots of " + std::to_string(spec_.batch_size));
  }
  if (!cache_) return;
  if (static_cast<int64_t>(rows.size()) != count) throw Error("bad_batch", "a batch of " + std::to_string(count) + " images came with " + std::to_string(rows.size()) + " rows");
  cache_->check(rows);
}

at::Tensor AlignTrainer::pixels(size_t slot, int64_t count) const {
  return at::from_blob(ring_->slot(slot), {count, 3, spec_.image_size, spec_.image_size}, at::kByte).to(spec_.device);
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

AlignTrainer::Frozen AlignTrainer::frozen(const at::Tensor& pixels, std::span<const uint32_t> rows) {
  if (!cache_) return compute_frozen(pixels);
  if (cache_->has(rows)) return {cache_->original(rows).to(spec_.device), cache_->teacher(rows).to(spec_.device)};
  auto computed = compute_frozen(pixels);
  cache_->store(rows, computed.original, computed.teacher);
  return computed;
}

int64_t AlignTrainer::embed(size_t slot, int64_t count, std::span<const uint32_t> rows) {
  check_batch(slot, count, rows);
  if (!cache_) throw Error("no_cache", "embed needs an open cache");
  if (cache_->has(rows)) return 0;
  frozen(pixels(slot, count), rows);
  return count;
}

std::optional<StepMetrics> AlignTrainer::step(size_t slot, int64_t count, std::span<const uint32_t> rows, double lr, bool log) {
  const auto start = std::chrono::steady_clock::now();
  check_batch(slot, count, rows);
  const auto images = pixels(slot, count);
  const auto target = frozen(images, rows);

  // GradCache (Gao et al. 2021): the loss sees the whole batch whatever the micro-batch. One micro-batch keeps its graph; several are embedded
  // without one, and each is embedded again when its gradient is known.
  const auto parts = images.split(spec_.micro_batch);
  const auto with_graph = [&](const at::Tensor& part) { return student_.embed(part, spec_.image_size, spec_.activation_checkpointing); };
  const bool whole = parts.size() == 1;
  const auto embedded = whole ? with_graph(images) : by_micro_batch(student_, images, spec_.image_size);

  const auto features = embedded.detach().requires_grad_();
  const auto kernel_loss = (spec_.fused_loss ? kernel_alignment : kernel_alignment_plain)(features, target.teacher, kernel_);
  const auto anchor_loss = (features - target.original).square().sum(1).mean();
  const auto loss = spec_.w * kernel_loss + anchor_loss;
  // Synchronises a GPU.
  const double value = loss.item<double>();
  if (!std::isfinite(value)) {
    throw Error("non_finite", "the loss is " + std::to_string(value) + " (kernel " + std::to_string(kernel_loss.item<double>()) + ", anchor " +
                                  std::to_string(anchor_loss.item<double>()) + ")");
  }
  torch::autograd::backward({loss}, {});

  const auto gradient = features.grad().split(spec_.micro_batch);
  for (size_t i = 0; i < parts.size(); ++i) {
    torch::autograd::backward({whole ? embedded : with_graph(parts[i])}, {gradient[i]});
  }
  std::optional<StepMetrics> metrics;
  if (log) {
    at::NoGradGuard no_grad;
    const auto scalar = [](const at::Tensor& t) { return t.item<double>(); };
    metrics = {value,
               scalar(kernel_loss),
               scalar(anchor_loss),
               scalar(at::cosine_similarity(features, target.original, 1).mean()),
               scalar(kernel_.gamma),
               scalar(kernel_.c),
               scalar(kernel_.sigma),
               0};
  }
  optimizer_.step(lr);
  for (const auto& parameter : tensors(State::value)) parameter.value.mutable_grad().reset();
  if (metrics) metrics->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return metrics;
}

void AlignTrainer::restore(const std::vector<LoadStep>& values, const std::vector<LoadStep>& exp_avg, const std::vector<LoadStep>& exp_avg_sq, int64_t steps) {
  load_tensors(tensors(State::value), values);
  load_tensors(tensors(State::exp_avg), exp_avg);
  load_tensors(tensors(State::exp_avg_sq), exp_avg_sq);
  optimizer_.set_steps(steps);
}

}  // namespace kuea
