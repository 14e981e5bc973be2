#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

#include "dist/process_group.h"
#include "nn/flat_parameters.h"
#include "optim/flat_adamw.h"

namespace kuea {

/**
 * AdamW over flat parameters with its work and its moments cut over the ranks (ZeRO stage 1, Rajbhandari et al. 2020): each rank has an
 * equal range of the buffers, updates it, and the ranks give each other what they have updated. A process alone (`group` null) has the
 * whole range, and nothing is copied.
 */
class ShardedAdamW {
 public:
  /**
   * The parameters' buffers must be cut into as many parts as there are ranks. `decayed`: numbers from the first on that have weight decay.
   */
  ShardedAdamW(FlatParameters& parameters, std::shared_ptr<ProcessGroup> group, AdamW::Options options, double weight_decay,
               int64_t decayed);

  FlatParameters& parameters() const { return parameters_; }

  /** Sums the gradients over the ranks; this rank's range of the sum, which is then grad(). */
  at::Tensor reduce();
  /** What step() updates from. */
  const at::Tensor& grad() const { return grad_; }
  void step(double lr);

  /** The moments under the parameters' names: all of them for a process alone, else those of the last gather() or spread(). */
  std::vector<Parameter> exp_avg() const { return parameters_.views(whole_.exp_avg); }
  std::vector<Parameter> exp_avg_sq() const { return parameters_.views(whole_.exp_avg_sq); }

  /** All ranks' moments come to rank 0, where exp_avg() and exp_avg_sq() then give them. */
  void gather();
  /** Before spread(): room for all moments on rank 0. */
  void make_room();
  /** Values and moments of rank 0, set through the parameters and exp_avg(), go to all ranks. */
  void spread(int64_t steps);
  /** Frees what gather() and make_room() took. */
  void drop();

 private:
  struct Moments {
    at::Tensor exp_avg, exp_avg_sq;
  };
  at::Tensor range(const at::Tensor& whole) const;

  FlatParameters& parameters_;
  std::shared_ptr<ProcessGroup> group_;
  int64_t begin_, count_;
  at::Tensor grad_;
  FlatAdamW optimizer_;
  Moments whole_;
};

}  // namespace kuea
