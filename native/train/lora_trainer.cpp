#include "train/lora_trainer.h"

#include <chrono>
#include <cmath>
#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/ScopeExit.h>

#include "runtime/error.h"

namespace kuea {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

at::Tensor integers(const std::vector<int64_t>& values, at::Device device) { return at::tensor(values, at::kLong).to(device); }

void append(std::vector<Parameter>& list, const std::vector<Parameter>& more) { list.insert(list.end(), more.begin(), more.end()); }

}  // namespace

LoraTrainer::LoraTrainer(const LoraTrainerSpec& spec)
    : spec_(spec),
      model_(spec.model, true, spec.train_projector, spec.group ? spec.group->size() : 1),
      ring_(std::make_shared<BatchRing>(spec.slots,
                                        spec.images_per_slot * 3 * spec.model.vision.image_size * spec.model.vision.image_size *
                                            static_cast<int64_t>(c10::elementSize(spec.pixels)),
                                        spec.model.device)) {
  at::NoGradGuard no_grad;
  const auto add = [&](FlatParameters& parameters, bool biases) {
    // The projector's biases are at its end; the adapters have none.
    int64_t decayed = 0;
    for (const auto& parameter : parameters.all()) decayed += parameter.value.numel();
    if (biases) decayed -= 2 * spec.model.llama.width;
    optimizers_.emplace_back(parameters, spec.group, spec.optimizer, spec.weight_decay, decayed);
  };
  add(model_.lora(), false);
  if (spec.train_projector) add(model_.projector_parameters(), true);
  drop_gradients();
}

std::vector<Parameter> LoraTrainer::tensors(State state) const {
  std::vector<Parameter> list;
  for (const auto& optimizer : optimizers_) {
    append(list, state == State::value     ? optimizer.parameters().all()
                 : state == State::exp_avg ? optimizer.exp_avg()
                                           : optimizer.exp_avg_sq());
  }
  return list;
}

void LoraTrainer::check(const MicroBatch& batch) const {
  const auto fail = [](const std::string& why) { throw Error("bad_batch", "cannot train on this micro-batch: " + why); };
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  const auto samples = batch.lengths.size();
  if (tokens == 0) fail("it has no tokens");
  if (static_cast<int64_t>(batch.labels.size()) != tokens) fail("as many labels as tokens are needed");
  if (std::accumulate(batch.lengths.begin(), batch.lengths.end(), int64_t{0}) != tokens ||
      std::any_of(batch.lengths.begin(), batch.lengths.end(), [](int64_t n) { return n < 1; })) {
    fail("the samples' lengths do not add up to its " + std::to_string(tokens) + " tokens");
  }
  if (batch.weights.size() != samples || batch.sample_keys.size() != samples)
    fail("a weight and a key are needed for each of its " + std::to_string(samples) + " samples");
  if (batch.images < 0 || batch.images > spec_.images_per_slot || (batch.images > 0 && (batch.slot < 0 || batch.slot >= spec_.slots))) {
    fail("slot " + std::to_string(batch.slot) + " with " + std::to_string(batch.images) + " images, but the ring has " +
         std::to_string(spec_.slots) + " slots of " + std::to_string(spec_.images_per_slot));
  }
  const auto vocabulary = spec_.model.llama.vocabulary;
  const auto within = [&](int64_t id, int64_t other) { return id == other || (id >= 0 && id < vocabulary); };
  for (int64_t i = 0; i < tokens; ++i) {
    if (!within(batch.tokens[i], image_token) || !within(batch.labels[i], ignored_label)) {
      fail("token " + std::to_string(batch.tokens[i]) + " with label " + std::to_string(batch.labels[i]) +
           " does not fit a vocabulary of " + std::to_string(vocabulary));
    }
  }
  const auto images = std::count(batch.tokens.begin(), batch.tokens.end(), image_token);
  if (static_cast<int64_t>(batch.image_rows.size()) != images)
    fail(std::to_string(images) + " image tokens with " + std::to_string(batch.image_rows.size()) + " rows");
  const auto rows = batch.images * patches(spec_.model.vision);
  for (const auto row : batch.image_rows) {
    if (row < 0 || row >= rows) fail("image row " + std::to_string(row) + " of " + std::to_string(rows));
  }
}

at::Tensor LoraTrainer::pixels(const MicroBatch& batch) const {
  const auto size = spec_.model.vision.image_size;
  return at::from_blob(ring_->slot(static_cast<size_t>(batch.slot)), {batch.images, 3, size, size}, spec_.pixels);
}

LoraTrainer::Targets LoraTrainer::targets(const MicroBatch& batch) const {
  std::vector<int64_t> rows, labels;
  std::vector<float> weights;
  int64_t first = 0;
  for (size_t sample = 0; sample < batch.lengths.size(); ++sample) {
    for (int64_t i = first + 1; i < first + batch.lengths[sample]; ++i) {
      if (batch.labels[i] < 0) continue;
      rows.push_back(i - 1);
      labels.push_back(batch.labels[i]);
      weights.push_back(batch.weights[sample]);
    }
    first += batch.lengths[sample];
  }
  const auto device = spec_.model.device;
  return {integers(rows, device), integers(labels, device), at::tensor(weights, at::kFloat).to(device)};
}

void LoraTrainer::accumulate(const MicroBatch& batch) {
  const auto start = Clock::now();
  at::NoGradGuard no_grad;
  check(batch);
  for (auto& optimizer : optimizers_) optimizer.drop();
  // Part of a micro-batch cannot be taken back: where it fails, the update begins anew.
  auto failed = c10::make_scope_exit([this] { drop_gradients(); });
  const auto targets = this->targets(batch);
  const auto& llama = model_.llama();
  const auto device = spec_.model.device;
  sums_.denominator += batch.denominator;
  sums_.tokens += static_cast<int64_t>(batch.tokens.size());
  sums_.labels += targets.rows.size(0);
  // Nothing to learn: every gradient is 0.
  if (targets.rows.size(0) == 0) return failed.release();

  at::Tensor features, hidden, projected;
  if (batch.images > 0) {
    features = model_.features(pixels(batch));
    projected = model_.projector().forward(features, spec_.train_projector ? &hidden : nullptr);
  }
  const auto ids = integers(batch.tokens, device), image_rows = integers(batch.image_rows, device);
  auto sequence = llama.sequence(batch.lengths);
  sequence.dropout = make_dropout(spec_.dropout, spec_.seed, batch.sample_keys, batch.lengths, device);
  std::vector<LlamaLayerState> states;
  const auto last = llama.forward(model_.embed(ids, projected, image_rows), sequence, targets.rows, &states, spec_.keeping);
  auto [loss, gradient] = llama.loss(last, targets.labels, targets.weights, true);
  sums_.loss.add_(loss);
  // The first layer's input has a gradient that somebody reads only where a trained projector made it.
  const bool through = spec_.train_projector && image_rows.numel() > 0;
  const auto g = llama.backward(gradient, sequence, targets.rows, states, spec_.keeping, through);
  if (through) {
    auto d_projected = at::zeros(projected.sizes(), projected.options());
    d_projected.index_add_(0, image_rows, g.index_select(0, image_positions(ids)));
    model_.projector().backward(d_projected, features, hidden);
  }
  sums_.seconds += seconds_since(start);
  failed.release();
}

void LoraTrainer::drop_gradients() noexcept {
  try {
    for (auto& optimizer : optimizers_) optimizer.parameters().grad().zero_();
    sums_ = {at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(spec_.model.device))};
  } catch (const std::exception&) {
    // A GPU that fails does so in all that follows, too: whatever comes next says it.
  }
}

LoraTrainer::Totals LoraTrainer::totals() {
  std::vector<double> totals{sums_.loss.item<double>(), sums_.denominator, static_cast<double>(sums_.labels),
                             static_cast<double>(sums_.tokens), 0};
  for (auto& optimizer : optimizers_) {
    // Synchronises a GPU, as does the loss.
    const auto norm = at::linalg_vector_norm(optimizer.reduce(), 2).item<double>();
    totals[4] += norm * norm;
  }
  if (spec_.group) {
    const auto sums = at::tensor(totals, at::kDouble).to(spec_.model.device);
    spec_.group->all_reduce(sums);
    const auto host = sums.to(at::kCPU);
    totals.assign(host.const_data_ptr<double>(), host.const_data_ptr<double>() + totals.size());
    // Also tells the others when this rank wants to stop.
    spec_.group->gather_counts(sums_.labels);
  }
  return {totals[0], totals[1], totals[2], totals[3], totals[4]};
}

std::optional<LoraMetrics> LoraTrainer::update(double lr, double projector_lr, bool log) {
  const auto start = Clock::now();
  at::NoGradGuard no_grad;
  // However it ends: what an update that failed has left would be added to the next one's.
  const auto dropped = c10::make_scope_exit([this] { drop_gradients(); });
  const auto totals = this->totals();
  const auto metrics = [&, seconds = sums_.seconds](double loss, double norm) {
    return log ? std::optional(LoraMetrics{loss, norm, static_cast<int64_t>(totals.labels), static_cast<int64_t>(totals.tokens),
                                           seconds + seconds_since(start)})
               : std::nullopt;
  };
  if (totals.denominator == 0) return metrics(0, 0);
  const double norm = std::sqrt(totals.square) / totals.denominator, loss = totals.loss / totals.denominator;
  if (!std::isfinite(norm) || !std::isfinite(loss))
    throw Error("non_finite", "the loss is " + std::to_string(loss) + " and its gradient's norm " + std::to_string(norm));
  const double clip = spec_.max_grad_norm > 0 && norm > spec_.max_grad_norm ? spec_.max_grad_norm / norm : 1;
  for (size_t i = 0; i < optimizers_.size(); ++i) {
    optimizers_[i].grad().mul_(clip / totals.denominator);
    optimizers_[i].step(i == 0 ? lr : projector_lr);
  }
  return metrics(loss, norm);
}

LoraTrainer::Evaluation LoraTrainer::evaluate(const MicroBatch& batch) {
  at::NoGradGuard no_grad;
  check(batch);
  const auto targets = this->targets(batch);
  const auto labels = targets.rows.size(0);
  if (labels == 0) return {0, 0};
  const auto& llama = model_.llama();
  at::Tensor projected;
  if (batch.images > 0) projected = model_.projector().forward(model_.features(pixels(batch)), nullptr);
  const auto x = model_.embed(integers(batch.tokens, spec_.model.device), projected, integers(batch.image_rows, spec_.model.device));
  const auto last = llama.forward(x, llama.sequence(batch.lengths), targets.rows, nullptr, {});
  return {llama.loss(last, targets.labels, targets.weights, false).loss.item<double>(), labels};
}

void LoraTrainer::gather() {
  at::NoGradGuard no_grad;
  for (auto& optimizer : optimizers_) optimizer.gather();
}

void LoraTrainer::restore(const std::vector<LoadStep>& values, const std::vector<LoadStep>& exp_avg,
                          const std::vector<LoadStep>& exp_avg_sq, int64_t steps) {
  at::NoGradGuard no_grad;
  if (!spec_.group || spec_.group->rank() == 0) {
    for (auto& optimizer : optimizers_) optimizer.make_room();
    load_tensors(tensors(State::value), values);
    load_tensors(tensors(State::exp_avg), exp_avg);
    load_tensors(tensors(State::exp_avg_sq), exp_avg_sq);
  }
  for (auto& optimizer : optimizers_) optimizer.spread(steps);
}

}  // namespace kuea
