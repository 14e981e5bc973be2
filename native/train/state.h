#pragma once

namespace kuea {

/** Which of a parameter's three tensors a checkpoint holds. */
enum class State { value, exp_avg, exp_avg_sq };

}  // namespace kuea
