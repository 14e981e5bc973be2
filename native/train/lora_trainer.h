#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/llava.h"
#include "optim/sharded_adamw.h"
#include "runtime/batch_ring.h"
#include "train/state.h"

namespace kuea {

/** LoraTrainerSpec in lib/native/llava.ts. */
struct LoraTrainerSpec {
  LlavaSpec model;
  double dropout;
  uint64_t seed;
  bool train_projector;
  AdamW::Options optimizer;
  double weight_decay, max_grad_norm;
  Keeping keeping;
  int64_t slots, images_per_slot;
  /** kByte or kFloat. */
  at::ScalarType pixels;
  /** Null when this process trains alone. */
  std::shared_ptr<ProcessGroup> group;
};

/** MicroBatch in lib/native/llava.ts. */
struct MicroBatch {
  int64_t slot, images;
  std::vector<int64_t> tokens, labels, lengths, image_rows;
  std::vector<float> weights;
  std::vector<uint32_t> sample_keys;
  double denominator;
};

/** LoraMetrics in lib/native/llava.ts. */
struct LoraMetrics {
  double loss, grad_norm;
  int64_t labels, tokens;
  double seconds;
};

/**
 * LoRA fine-tuning of a LLaVA, its projector trained or not, by AdamW. Used on the device thread alone. With a process group every rank
 * holds the frozen base and adds its own micro-batches; update(), gather() and restore() are called by all ranks together, the others by
 * each for itself.
 */
class LoraTrainer {
 public:
  explicit LoraTrainer(const LoraTrainerSpec& spec);

  const std::shared_ptr<BatchRing>& ring() const { return ring_; }

  /** The adapters' tensors, then the projector's when it is trained. Of several ranks rank 0 alone has moments, after gather(). */
  std::vector<Parameter> tensors(State state) const;

  /** Adds a micro-batch to the gradients. Throws Error `bad_batch` before anything was changed; any other drops the gradients. */
  void accumulate(const MicroBatch& batch);

  /** One update. Throws Error `non_finite`, with parameters and moments as they were and the gradients dropped. */
  std::optional<LoraMetrics> update(double lr, double projector_lr, bool log);

  struct Evaluation {
    double loss;
    int64_t labels;
  };
  /** The weighted sum of cross-entropies without dropout. */
  Evaluation evaluate(const MicroBatch& batch);

  /** Brings all ranks' moments to rank 0 until the next micro-batch. */
  void gather();

  /** Of several ranks rank 0's plans alone are read. */
  void restore(const std::vector<LoadStep>& values, const std::vector<LoadStep>& exp_avg, const std::vector<LoadStep>& exp_avg_sq,
               int64_t steps);

 private:
  /** What an update's micro-batches have added up to. */
  struct Sums {
    at::Tensor loss;
    double denominator = 0;
    int64_t labels = 0, tokens = 0;
    double seconds = 0;
  };
  /** The same over all ranks, and the squared norm of the summed gradient. */
  struct Totals {
    double loss, denominator, labels, tokens, square;
  };
  /** Rows that a label is predicted from, the labels and their weights. */
  struct Targets {
    at::Tensor rows, labels, weights;
  };

  void check(const MicroBatch& batch) const;
  at::Tensor pixels(const MicroBatch& batch) const;
  Targets targets(const MicroBatch& batch) const;
  Totals totals();
  void drop_gradients() noexcept;

  LoraTrainerSpec spec_;
  Llava model_;
  /** Of the adapters, then of the projector when it is trained: each has a learning rate of its own. */
  std::vector<ShardedAdamW> optimizers_;
  std::shared_ptr<BatchRing> ring_;
  Sums sums_;
};

}  // namespace kuea
