#include "ops/dropout.h"

#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/dropout.h"
#include "ops/kernel_dispatch.h"

namespace kuea {
namespace {

kernels::DropoutMask mask_of(const Dropout& mask, uint32_t module, int64_t begin) {
  const auto threshold = static_cast<uint32_t>(std::lround(mask.probability * 4294967296.0));
  return {numbers<uint32_t>(mask.keys, begin), module, threshold, static_cast<float>(1 / (1 - mask.probability))};
}

/** The kernels' mask in ATen's terms, fp32 [tokens, width]: 32-bit arithmetic in int64. */
at::Tensor factors(const Dropout& mask, uint32_t module, int64_t width) {
  constexpr int64_t low = 0xffffffff;
  const auto mix = [](at::Tensor x) {
    x = (x ^ x.bitwise_right_shift(16)) * int64_t{0x85ebca6b} & low;
    x = (x ^ x.bitwise_right_shift(13)) * int64_t{0xc2b2ae35} & low;
    return x ^ x.bitwise_right_shift(16);
  };
  const auto keys = mix((mask.keys.to(at::kLong) & low) ^ static_cast<int64_t>(module * kernels::golden));
  const auto features = at::arange(width, mask.keys.options().dtype(at::kLong)) * int64_t{kernels::golden} & low;
  const auto dropped = mix(keys.unsqueeze(1) ^ features) < static_cast<int64_t>(std::lround(mask.probability * 4294967296.0));
  return dropped.logical_not().to(at::kFloat).div_(1 - mask.probability);
}

}  // namespace

Dropout make_dropout(double probability, uint64_t seed, std::span<const uint32_t> samples, const std::vector<int64_t>& lengths,
                     at::Device device) {
  if (probability == 0) return {};
  int64_t tokens = 0;
  for (const auto length : lengths) tokens += length;
  auto keys = at::empty({tokens}, at::kInt);
  auto* key = numbers<uint32_t>(keys);
  const auto start = kernels::mix(kernels::mix(static_cast<uint32_t>(seed)) ^ static_cast<uint32_t>(seed >> 32));
  for (size_t i = 0; i < lengths.size(); ++i) {
    const auto sample = kernels::mix(start ^ samples[i] * kernels::golden);
    for (int64_t position = 0; position < lengths[i]; ++position)
      *key++ = kernels::mix(sample ^ static_cast<uint32_t>(position) * kernels::golden);
  }
  return {probability, keys.to(device)};
}

at::Tensor dropout(const at::Tensor& x, const Dropout& mask, uint32_t module) {
  if (mask.probability == 0) return x;
  const auto rows = x.size(0), width = x.size(1);
  if (!has_kernels(x)) return (x * factors(mask, module, width)).to(x.scalar_type());
  auto y = at::empty_like(x);
  dispatch(x, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, rows, row_grain(width), [&](int64_t begin, int64_t end) {
      kernels::dropout(numbers<T>(x, begin * width), numbers<T>(y, begin * width), mask_of(mask, module, begin), end - begin, width);
    });
  });
  return y;
}

void dropout_add_(at::Tensor& y, const at::Tensor& x, const Dropout& mask, uint32_t module) {
  if (mask.probability == 0) {
    y.add_(x);
    return;
  }
  const auto rows = x.size(0), width = x.size(1);
  if (!has_kernels(x)) {
    y.add_((x * factors(mask, module, width)).to(x.scalar_type()));
    return;
  }
  dispatch(x, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, rows, row_grain(width), [&](int64_t begin, int64_t end) {
      kernels::dropout_add(numbers<T>(x, begin * width), numbers<T>(y, begin * width), mask_of(mask, module, begin), end - begin, width);
    });
  });
}

}  // namespace kuea
