#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

namespace kuea {

/**
 * Limited-memory BFGS in float64 (Nocedal and Wright, algorithms 7.4, 3.5 and 3.6): the step of each iteration meets the strong Wolfe
 * conditions with c1 = 1e-4, c2 = 0.9.
 */
class Lbfgs {
 public:
  /** The value at `x`; writes the gradient there. */
  using Objective = std::function<double(const std::vector<double>& x, std::vector<double>& gradient)>;

  /** `history`: pairs of steps and gradient differences that are kept. */
  Lbfgs(Objective objective, std::vector<double> start, size_t history);

  /** One iteration, unless stalled. */
  void iterate();
  /** No step along the gradient makes the value less: what is left is rounding. */
  bool stalled() const { return stalled_; }

  const std::vector<double>& x() const { return x_; }
  double value() const { return value_; }
  double gradient_norm() const;
  int64_t iterations() const { return iterations_; }
  int64_t evaluations() const { return evaluations_; }

 private:
  /** The objective along the direction: at x + t direction its value, and its derivative by t. */
  struct Point {
    double t, value, slope;
  };
  struct Pair {
    std::vector<double> step, change;
    /** 1 / (step . change). */
    double rho;
  };

  std::vector<double> direction() const;
  Point probe(const std::vector<double>& direction, double t);
  bool search(const std::vector<double>& direction, Point start, double first);
  bool zoom(const std::vector<double>& direction, Point start, Point low, Point high);
  bool accepts(const Point& start, const Point& point) const;
  bool decreases(const Point& start, const Point& point) const;
  void remember(const std::vector<double>& x, const std::vector<double>& gradient);

  Objective objective_;
  size_t history_;
  std::vector<double> x_, gradient_;
  double value_;
  // Where the last probe was.
  std::vector<double> probed_x_, probed_gradient_;
  std::deque<Pair> pairs_;
  bool stalled_ = false;
  int64_t iterations_ = 0, evaluations_ = 0;
};

}  // namespace kuea
