#include "eval/lbfgs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace kuea {
namespace {

constexpr double c1 = 1e-4, c2 = 0.9;
constexpr int most_probes = 25;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void add(std::vector<double>& a, double scale, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += scale * b[i];
}

/** Values closer than this are not told apart: each is a sum of many roundings. */
double rounding(double value) { return 1e-13 * std::abs(value); }

}  // namespace

Lbfgs::Lbfgs(Objective objective, std::vector<double> start, size_t history)
    : objective_(std::move(objective)), history_(history), x_(std::move(start)), gradient_(x_.size()) {
  value_ = objective_(x_, gradient_);
  evaluations_ = 1;
}

double Lbfgs::gradient_norm() const { return std::sqrt(dot(gradient_, gradient_)); }

void Lbfgs::iterate() {
  if (stalled_) return;
  const auto along = direction();
  const Point start{0, value_, dot(gradient_, along)};
  // Without a past the direction is the gradient itself, whose length says nothing about the step's.
  const double first = pairs_.empty() ? std::min(1.0, 1 / std::sqrt(-start.slope)) : 1;
  if (!search(along, start, first)) {
    // What the pairs remember may be rounding: once more from the gradient alone, then give up.
    stalled_ = pairs_.empty();
    pairs_.clear();
    return;
  }
  ++iterations_;
  remember(probed_x_, probed_gradient_);
  x_.swap(probed_x_);
  gradient_.swap(probed_gradient_);
}

/** -H gradient by the two loops over the pairs, H's start the last pair's step . change / |change|^2. */
std::vector<double> Lbfgs::direction() const {
  auto q = gradient_;
  std::vector<double> alphas(pairs_.size());
  for (size_t i = pairs_.size(); i-- > 0;) {
    alphas[i] = pairs_[i].rho * dot(pairs_[i].step, q);
    add(q, -alphas[i], pairs_[i].change);
  }
  double scale = -1;
  if (!pairs_.empty()) scale = -1 / (pairs_.back().rho * dot(pairs_.back().change, pairs_.back().change));
  for (auto& value : q) value *= scale;
  for (size_t i = 0; i < pairs_.size(); ++i) add(q, -alphas[i] - pairs_[i].rho * dot(pairs_[i].change, q), pairs_[i].step);
  return q;
}

void Lbfgs::remember(const std::vector<double>& x, const std::vector<double>& gradient) {
  Pair pair{x, gradient, 0};
  add(pair.step, -1, x_);
  add(pair.change, -1, gradient_);
  const double curvature = dot(pair.step, pair.change);
  if (!(curvature > std::numeric_limits<double>::epsilon() * dot(pair.change, pair.change))) return;
  pair.rho = 1 / curvature;
  pairs_.push_back(std::move(pair));
  if (pairs_.size() > history_) pairs_.pop_front();
}

Lbfgs::Point Lbfgs::probe(const std::vector<double>& direction, double t) {
  probed_x_ = x_;
  add(probed_x_, t, direction);
  probed_gradient_.resize(x_.size());
  ++evaluations_;
  const double value = objective_(probed_x_, probed_gradient_);
  return {t, value, dot(probed_gradient_, direction)};
}

bool Lbfgs::decreases(const Point& start, const Point& point) const {
  return point.value <= start.value + c1 * point.t * start.slope + rounding(start.value);
}

bool Lbfgs::accepts(const Point& start, const Point& point) const {
  return decreases(start, point) && std::abs(point.slope) <= -c2 * start.slope;
}

namespace {

/** Minimum between two points of the cubic that has their values and slopes, kept a tenth of the way from either. */
double cubic_minimum(double ta, double va, double sa, double tb, double vb, double sb) {
  const double d1 = sa + sb - 3 * (va - vb) / (ta - tb);
  const double square = d1 * d1 - sa * sb;
  const double d2 = std::copysign(std::sqrt(std::max(square, 0.0)), tb - ta);
  const double t = tb - (tb - ta) * (sb + d2 - d1) / (sb - sa + 2 * d2);
  const double left = std::min(ta, tb), room = std::abs(tb - ta);
  if (square < 0 || !std::isfinite(t)) return left + room / 2;
  return std::clamp(t, left + 0.1 * room, left + 0.9 * room);
}

}  // namespace

/** Finds a step that meets the conditions and leaves it probed; false where there is none. */
bool Lbfgs::search(const std::vector<double>& direction, Point start, double first) {
  if (!(start.slope < 0)) return false;
  Point last = start;
  double t = first;
  for (int i = 0; i < most_probes; ++i) {
    const Point point = probe(direction, t);
    if (accepts(start, point)) {
      value_ = point.value;
      return true;
    }
    if (!decreases(start, point) || point.value >= last.value) return zoom(direction, start, last, point);
    if (point.slope >= 0) return zoom(direction, start, point, last);
    last = point;
    t *= 4;
  }
  return false;
}

/** `low` has the lesser value, and its slope leads to `high`. */
bool Lbfgs::zoom(const std::vector<double>& direction, Point start, Point low, Point high) {
  for (int i = 0; i < most_probes; ++i) {
    const double t = std::isfinite(high.value) ? cubic_minimum(low.t, low.value, low.slope, high.t, high.value, high.slope)
                                               : low.t + (high.t - low.t) / 10;
    const Point point = probe(direction, t);
    if (accepts(start, point)) {
      value_ = point.value;
      return true;
    }
    if (!decreases(start, point) || point.value >= low.value) {
      high = point;
    } else {
      if (point.slope * (high.t - low.t) >= 0) high = low;
      low = point;
    }
  }
  return false;
}

}  // namespace kuea
