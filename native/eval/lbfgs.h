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

  struct Options {
    /** Pairs of steps and gradient differences that are kept. */
    size_t history;
    /** Converged where the gradient's L2 norm is no greater. */
    double tolerance;
  };

  enum class State {
    going,
    converged,
    /** No step along the search direction makes the value less: what is left is rounding. */
    stalled,
  };

  Lbfgs(Objective objective, std::vector<double> start, Options options);

  State state() const { return state_; }
  /** One iteration, where going. */
  void iterate();

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
  Options options_;
  std::vector<double> x_, gradient_;
  double value_;
  // Where the last probe was.
  std::vector<double> probed_x_, probed_gradient_;
  std::deque<Pair> pairs_;
  State state_ = State::going;
  int64_t iterations_ = 0, evaluations_ = 0;
};

}  // namespace kuea
