#pragma once

#include <cstdint>

#include "kernels/scalar.h"

namespace kuea::kernels {

/** y = gate sigmoid(gate) up over count numbers; arithmetic in fp32. */
void swiglu(const float* gate, const float* up, float* y, int64_t count);
void swiglu(const Bf16* gate, const Bf16* up, Bf16* y, int64_t count);

/** gate and up become their own gradients, given y's. */
void swiglu_backward(const float* g, float* gate, float* up, int64_t count);
void swiglu_backward(const Bf16* g, Bf16* gate, Bf16* up, int64_t count);

}  // namespace kuea::kernels
