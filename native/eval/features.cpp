#include "eval/features.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>

#include "kernels/top_k.h"
#include "runtime/error.h"

namespace kuea {

std::vector<float> divisors(const Features& features) {
  std::vector<double> norms(static_cast<size_t>(features.rows));
  at::parallel_for(0, features.rows, 1024, [&](int64_t begin, int64_t end) {
    kernels::squared_norms(features.data + begin * features.width, end - begin, features.width, norms.data() + begin);
  });
  const auto bad = std::find_if_not(norms.begin(), norms.end(), [](double norm) { return std::isfinite(norm); });
  if (bad != norms.end()) {
    throw Error("non_finite", "expected finite numbers in the " + features.name + ", found NaN or infinity in row " +
                                  std::to_string(bad - norms.begin()) +
                                  ": see whether the encoder's weights are finite, and embed in fp32");
  }
  std::vector<float> out(norms.size(), 1);
  if (features.normalise)
    std::transform(norms.begin(), norms.end(), out.begin(),
                   [](double norm) { return std::max(static_cast<float>(std::sqrt(norm)), 1e-12f); });
  return out;
}

void check_labels(const std::vector<int64_t>& labels, int64_t classes) {
  const auto bad = std::find_if(labels.begin(), labels.end(), [&](int64_t label) { return label < 0 || label >= classes; });
  if (bad == labels.end()) return;
  throw Error("bad_label", "expected labels from 0 to " + std::to_string(classes - 1) + ", found " + std::to_string(*bad) + " in row " +
                               std::to_string(bad - labels.begin()) + ": see whether labels and class names are of the same data set");
}

}  // namespace kuea
