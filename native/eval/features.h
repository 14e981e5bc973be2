#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kuea {

/** A matrix of fp32 rows, whose memory somebody else holds. `name` is what an error calls its rows. */
struct Features {
  std::string name;
  const float* data;
  int64_t rows, width;
  /** Rows are taken divided by their L2 norm, or by 1e-12 where that is greater, as torch's normalize does. */
  bool normalise;
};

/** What each row is to be divided by: its norm, or 1. Throws Error `non_finite` naming the first row that holds NaN or infinity. */
std::vector<float> divisors(const Features& features);

/** Throws Error `bad_label` naming the first row whose label is not one of 0 to classes - 1. */
void check_labels(const std::vector<int64_t>& labels, int64_t classes);

}  // namespace kuea
