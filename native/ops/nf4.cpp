#include "ops/nf4.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "kernels/nf4.h"
#include "ops/kernel_dispatch.h"

namespace kuea {
namespace {

using kernels::nf4_block;

constexpr int64_t group = 256;
// Blocks that one task takes.
constexpr int64_t grain = 512;
// Numbers converted to fp32 at a time.
constexpr int64_t slice = int64_t{1} << 22;

/** Calls f(fp32 numbers, first block, blocks) for the matrix, slice by slice. */
template <class F>
void each_slice(const at::Tensor& flat, F f) {
  for (int64_t first = 0; first < flat.numel(); first += slice) {
    const auto part = flat.narrow(0, first, std::min(slice, flat.numel() - first)).to(at::kFloat).contiguous();
    at::parallel_for(0, part.numel() / nf4_block, grain, [&](int64_t begin, int64_t end) {
      f(numbers<float>(part, begin * nf4_block), first / nf4_block + begin, end - begin);
    });
  }
}

/** fp32 [blocks], on the scales' device. */
at::Tensor block_scales(const Nf4& packed) {
  const auto blocks = packed.scales.size(0);
  const auto steps = packed.steps.unsqueeze(1).expand({packed.steps.size(0), group}).reshape({-1}).narrow(0, 0, blocks);
  return packed.scales.to(at::kFloat).mul_(steps).add_(packed.mean);
}

}  // namespace

Nf4 nf4_quantize(const at::Tensor& matrix, at::Device device) {
  const auto flat = matrix.contiguous().view({-1});
  const auto blocks = flat.numel() / nf4_block;
  auto largest = at::empty({blocks}, at::kFloat);
  each_slice(flat, [&](const float* x, int64_t first, int64_t count) { kernels::nf4_scales(x, numbers<float>(largest, first), count); });

  Nf4 packed{matrix.sizes().vec(), at::empty({flat.numel() / 2}, at::kByte), at::empty({blocks}, at::kChar),
             at::empty({(blocks + group - 1) / group}, at::kFloat), largest.mean(at::kDouble).item<float>()};
  const auto* value = numbers<float>(largest);
  auto* scale = numbers<int8_t>(packed.scales);
  for (int64_t first = 0; first < blocks; first += group) {
    const auto end = std::min(first + group, blocks);
    float most = 0;
    for (int64_t i = first; i < end; ++i) most = std::max(most, std::abs(value[i] - packed.mean));
    const float step = most / 127;
    numbers<float>(packed.steps)[first / group] = step;
    for (int64_t i = first; i < end; ++i) scale[i] = static_cast<int8_t>(step > 0 ? std::lround((value[i] - packed.mean) / step) : 0);
  }
  // Codes for the scales as they will be read, not as they were.
  const auto read = block_scales(packed);
  each_slice(flat, [&](const float* x, int64_t first, int64_t count) {
    kernels::nf4_encode(x, numbers<float>(read, first), numbers<uint8_t>(packed.codes, first * nf4_block / 2), count);
  });
  packed.codes = packed.codes.to(device);
  packed.scales = packed.scales.to(device);
  packed.steps = packed.steps.to(device);
  return packed;
}

at::Tensor nf4_dequantize(const Nf4& packed, at::ScalarType dtype) {
  const auto scales = block_scales(packed);
  auto out = at::empty(packed.shape, packed.codes.options().dtype(dtype));
  if (has_kernels(out)) {
    dispatch(out, [&](auto zero) {
      using T = decltype(zero);
      at::parallel_for(0, scales.numel(), grain, [&](int64_t begin, int64_t end) {
        kernels::nf4_decode(numbers<uint8_t>(packed.codes, begin * nf4_block / 2), numbers<float>(scales, begin),
                            numbers<T>(out, begin * nf4_block), end - begin);
      });
    });
    return out;
  }
  const auto table = at::tensor(at::ArrayRef<float>(kernels::nf4_values, 16), at::kFloat).to(packed.codes.device());
  const auto codes = at::stack({packed.codes.bitwise_right_shift(4), packed.codes.bitwise_and(15)}, 1).view({-1}).to(at::kInt);
  const auto values = table.index_select(0, codes).view({-1, nf4_block}).mul_(scales.unsqueeze(1));
  out.view({-1}).copy_(values.view({-1}));
  return out;
}

}  // namespace kuea
