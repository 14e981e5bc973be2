#include "models/llava_generator.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/tensor.h>

#include "runtime/error.h"

namespace kuea {
namespace {

at::Tensor integers(const std::vector<int64_t>& values, at::Device device) { return at::tensor(values, at::kLong).to(device); }

}  // namespace

int64_t LlavaGenerator::likeliest(const at::Tensor& x) { return at::argmax(model_.llama().next_logits(x, caches_)).item<int64_t>(); }

int64_t LlavaGenerator::prefill(const std::vector<int64_t>& tokens, const std::vector<int64_t>& image_rows, const at::Tensor& pixels) {
  at::NoGradGuard no_grad;
  const auto vocabulary = model_.llama().arch().vocabulary;
  const auto rows = pixels.size(0) * patches(model_.spec().vision);
  const bool known =
      std::all_of(tokens.begin(), tokens.end(), [&](int64_t id) { return id == image_token || (id >= 0 && id < vocabulary); });
  const bool placed = std::all_of(image_rows.begin(), image_rows.end(), [&](int64_t row) { return row >= 0 && row < rows; });
  if (tokens.empty() || !known || !placed ||
      std::count(tokens.begin(), tokens.end(), image_token) != static_cast<int64_t>(image_rows.size())) {
    throw Error("bad_batch", "expected tokens of a vocabulary of " + std::to_string(vocabulary) + ", and for each image token a row of " +
                                 std::to_string(rows));
  }
  caches_.clear();
  const auto device = model_.spec().device;
  at::Tensor projected;
  if (!image_rows.empty()) projected = model_.projector().forward(model_.features(pixels), nullptr);
  return likeliest(model_.embed(integers(tokens, device), projected, integers(image_rows, device)));
}

int64_t LlavaGenerator::next(int64_t token) {
  at::NoGradGuard no_grad;
  if (caches_.empty()) throw Error("no_sequence", "next needs a sequence: call prefill first");
  if (token < 0 || token >= model_.llama().arch().vocabulary)
    throw Error("bad_batch", "token " + std::to_string(token) + " is not in the vocabulary");
  return likeliest(model_.llama().embed(integers({token}, model_.spec().device)));
}

}  // namespace kuea
