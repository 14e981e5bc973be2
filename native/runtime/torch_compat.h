#pragma once

// Every difference between the supported libtorch versions (2.13 for the CPU, 2.14 for CUDA) is settled here.
#include <torch/headeronly/version.h>

namespace kuea {

#define KUEA_STRING_(x) #x
#define KUEA_STRING(x) KUEA_STRING_(x)

inline constexpr const char* libtorch_version =
    KUEA_STRING(TORCH_VERSION_MAJOR) "." KUEA_STRING(TORCH_VERSION_MINOR) "." KUEA_STRING(TORCH_VERSION_PATCH);

}  // namespace kuea
