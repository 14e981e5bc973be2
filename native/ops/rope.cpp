#include "ops/rope.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

#include "kernels/rope.h"
#include "ops/kernel_dispatch.h"

namespace kuea {

RotaryTable rotary_table(const std::vector<int64_t>& lengths, int64_t first, int64_t dim, double theta, at::Device device) {
  std::vector<at::Tensor> positions;
  for (const auto length : lengths) positions.push_back(at::arange(first, first + length, at::kFloat));
  // fp32 as upstream has it: the frequencies, and their products with the positions.
  const auto frequencies = at::pow(theta, at::arange(0, dim, 2, at::kFloat).div_(static_cast<double>(dim))).reciprocal_();
  const auto angles = at::cat(positions).unsqueeze(1) * frequencies;
  return {angles.cos().to(device), angles.sin().to(device)};
}

void rope_(at::Tensor& x, const RotaryTable& table, bool back) {
  const auto tokens = x.size(0), half = table.cosine.size(1), heads = x.size(1) / (2 * half);
  if (!has_kernels(x)) {
    auto pairs = x.view({tokens, heads, 2, half});
    const auto a = pairs.select(2, 0), b = pairs.select(2, 1);
    const auto cosine = table.cosine.unsqueeze(1), sine = back ? table.sine.unsqueeze(1).neg() : table.sine.unsqueeze(1);
    // Both before either is written: a and b are views of x. The products with fp32 tables are fp32.
    const auto first = a * cosine - b * sine, second = b * cosine + a * sine;
    a.copy_(first);
    b.copy_(second);
    return;
  }
  dispatch(x, [&](auto zero) {
    using T = decltype(zero);
    const auto width = x.size(1);
    at::parallel_for(0, tokens, row_grain(width), [&](int64_t begin, int64_t end) {
      kernels::rope(numbers<T>(x, begin * width), numbers<float>(table.cosine, begin * half), numbers<float>(table.sine, begin * half),
                    end - begin, width, heads, 2 * half, back ? -1.0f : 1.0f);
    });
  });
}

}  // namespace kuea
