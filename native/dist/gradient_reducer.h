#pragma once

#include <memory>
#include <vector>

#include "dist/process_group.h"
#include "nn/parameters.h"

namespace c10d {
class Reducer;
}

namespace kuea {

/**
 * c10d's Reducer: sums the gradients of all ranks, bucket by bucket, while the backward goes on. It acts on the one backward after prepare();
 * gradients that came before (of micro-batches) are in .grad already and are summed with it.
 */
class GradientReducer {
 public:
  GradientReducer(const std::vector<Parameter>& parameters, std::shared_ptr<ProcessGroup> group);
  ~GradientReducer();

  /** Before the forward whose backward is to be reduced. */
  void prepare();
  /** Runs that backward. Throws Error `rank_failed`. Returns the seconds waited after the last gradient was there. */
  double run(const std::function<void()>& backward);

 private:
  class Sum;

  std::shared_ptr<ProcessGroup> group_;
  std::unique_ptr<c10d::Reducer> reducer_;
  Sum* sum_;
};

}  // namespace kuea
