#pragma once

#include <cstdint>

namespace kuea::kernels {

/** logits[r, c] = rows[r] . weight[c], in fp64; rows [count, width], weight [classes, width], row-major. */
void regression_logits(const double* rows, const double* weight, int64_t count, int64_t width, int64_t classes, double* logits);

/** gradient[c] += sum_r residuals[r, c] rows[r], in fp64; residuals [count, classes], gradient [classes, width]. */
void regression_gradient(const double* residuals, const double* rows, int64_t count, int64_t width, int64_t classes, double* gradient);

}  // namespace kuea::kernels
