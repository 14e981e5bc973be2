#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "dist/process_group.h"
#include "nn/parameters.h"

namespace c10d {
class Reducer;
}

namespace kuea {

/**
 * c10d's Reducer: sums the gradients of all ranks, bucket by bucket, while the backward goes on. It acts on the backward that it runs; what
 * earlier ones (of micro-batches) have left in .grad is summed with it. Every rank runs the same number of them.
 */
class GradientReducer {
 public:
  GradientReducer(const std::vector<Parameter>& parameters, std::shared_ptr<ProcessGroup> group);
  ~GradientReducer();

  /**
   * Runs a backward that reaches every parameter. Throws Error `rank_failed`. Returns the seconds waited after the last gradient was there.
   */
  double run(const std::function<void()>& backward);

 private:
  class Sum;

  std::shared_ptr<ProcessGroup> group_;
  std::unique_ptr<c10d::Reducer> reducer_;
  Sum* sum_;
};

}  // namespace kuea
