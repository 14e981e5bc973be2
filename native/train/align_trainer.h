#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dist/gradient_reducer.h"
#include "models/encoder.h"
#include "ops/alignment/alignment.h"
#include "optim/adamw.h"
#include "runtime/batch_ring.h"
#include "runtime/upload_stream.h"
#include "train/embedding_cache.h"
#include "train/finite_guard.h"
#include "train/state.h"
#include "weights/load.h"

namespace kuea {

/** TrainerSpec in lib/native/addon.ts. */
struct AlignTrainerSpec {
  EncoderSpec student;
  std::optional<EncoderSpec> teacher;
  /** d' of the teacher, also when it is not loaded. */
  int64_t teacher_dim, teacher_size, image_size;
  KernelSpec kernel;
  bool train_kernel;
  double w;
  bool fused_loss;
  at::ScalarType compute;
  at::Device device = at::kCPU;
  AdamW::Options optimizer;
  double weight_decay;
  /** Largest L2 norm of the gradient that an update is made with; 0: any. */
  double max_grad_norm;
  int64_t batch_size, micro_batch;
  bool activation_checkpointing;
  int64_t slots;
  /** Null when this process trains alone. Otherwise the batch sizes above are this rank's. */
  std::shared_ptr<ProcessGroup> group;
  /** A kernel matrix for each rank's images by themselves, its loss averaged over ranks. */
  bool local_kernel;
};

/** StepMetrics in lib/native/addon.ts. */
struct StepMetrics {
  double loss, kernel_loss, anchor_loss, cosine_to_original, grad_norm, gamma, c, sigma, seconds;
  /** Nothing on a GPU, where they would be the times of queueing. */
  std::optional<double> exchange_seconds, reduce_seconds;
};

/**
 * The published method: L = w mean_ij (K_clip - K_dino)^2 + mean_i |f(I_i) - f0(I_i)|^2 over one batch, every parameter of the student
 * trained by AdamW (decay on all of them, none on the kernel's own parameters). Used on the device thread alone.
 *
 * With a process group the batch is that of all ranks, in their order, each rank holding its part of the images: the embeddings are
 * gathered, each rank computes the gradient of its own rows, and the gradients of the weights are summed. Every rank makes the same update,
 * to the bit. Its functions are called by all ranks together, except embed.
 */
class AlignTrainer {
 public:
  explicit AlignTrainer(const AlignTrainerSpec& spec);

  const std::shared_ptr<BatchRing>& ring() const { return ring_; }

  /** The student's parameters, then kernel.gamma, kernel.c, kernel.sigma. */
  std::vector<Parameter> tensors(State state) const;

  void open_cache(const CacheSpec& spec);

  /**
   * One update from the first `count` images of a slot. Throws Error `non_finite` before anything is changed, or `empty_batch` where no
   * rank has an image. On a GPU a step that does not log waits for nothing but the copy of its pixels: a loss or gradient that is not
   * finite is reported by the next one that does, which names it, and no update since has changed anything.
   */
  std::optional<StepMetrics> step(size_t slot, int64_t count, std::span<const uint32_t> rows, double lr, bool log);

  /**
   * The losses of the first `count` images of a slot, with no update: loss, kernel_loss, anchor_loss and cosine_to_original. Without `rows`
   * the images are none of the cache's, and the frozen models embed them. Throws as step does.
   */
  StepMetrics evaluate(size_t slot, int64_t count, std::optional<std::span<const uint32_t>> rows);

  /** Throws what a step on a GPU has left unsaid: Error `non_finite`. Before a checkpoint, say. */
  void check();

  /** Frozen embeddings of the slot's images into the cache; how many were computed. */
  int64_t embed(size_t slot, int64_t count, std::span<const uint32_t> rows);

  void restore(const std::vector<LoadStep>& values, const std::vector<LoadStep>& exp_avg, const std::vector<LoadStep>& exp_avg_sq,
               int64_t steps);

 private:
  /** The two constant embeddings of a batch, fp32 on the device. */
  struct Frozen {
    at::Tensor original, teacher;
  };

  /** The loss of a batch and its terms, which its features' gradient can be taken of. */
  struct Losses {
    at::Tensor loss, kernel, anchor;
  };

  std::vector<int64_t> batch_counts(int64_t count) const;
  Losses losses(const at::Tensor& features, const Frozen& target, const std::vector<int64_t>& counts) const;
  at::Tensor pixels(size_t slot, int64_t count);
  at::Tensor by_micro_batch(const Encoder& encoder, const at::Tensor& pixels, int64_t size) const;
  Frozen compute_frozen(const at::Tensor& pixels) const;
  Frozen frozen(const at::Tensor& pixels, std::optional<std::span<const uint32_t>> rows);
  void check_batch(size_t slot, int64_t count, std::optional<std::span<const uint32_t>> rows) const;
  at::Tensor clip_gradients();
  at::Tensor sum_terms(const std::vector<at::Tensor>& terms);
  void clear_gradients();

  AlignTrainerSpec spec_;
  Encoder student_;
  std::optional<Encoder> original_, teacher_;
  KernelParams kernel_;
  AdamW optimizer_;
  std::shared_ptr<BatchRing> ring_;
  std::optional<EmbeddingCache> cache_;
  std::optional<GradientReducer> reducer_;
  UploadStream uploads_;
  FiniteGuard guard_;
};

}  // namespace kuea
