#include "models/clip_text.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "models/clip.h"
#include "runtime/error.h"

namespace kuea {

ClipText::ClipText(const ClipTextArch& arch, const std::vector<LoadStep>& weights, at::ScalarType compute, at::Device device)
    : arch_((check_arch(arch), arch)),
      parameters_(device, compute),
      token_embedding_(parameters_.add("token_embedding.weight", {arch.vocabulary, arch.width})),
      positional_embedding_(parameters_.add("positional_embedding", {arch.context, arch.width})),
      transformer_(clip_blocks(parameters_, arch, arch.layers, compute)),
      ln_final_(parameters_, "ln_final", arch.width, 1e-5),
      text_projection_(parameters_.add("text_projection", {arch.width, arch.embed_dim})) {
  load_tensors(parameters_.all(), weights);
}

int64_t ClipText::end_of(const int32_t* ids, int64_t context) const {
  const auto [least, most] = std::minmax_element(ids, ids + context);
  if (*least < 0 || *most >= arch_.vocabulary) {
    throw Error("bad_batch", "expected ids from 0 to " + std::to_string(arch_.vocabulary - 1) + ", found " +
                                 std::to_string(*least < 0 ? *least : *most));
  }
  // max_element rather than minmax's: of several the first, as upstream's argmax.
  if (!arch_.end_token) return std::max_element(ids, ids + context) - ids;
  const auto* end = std::find(ids, ids + context, *arch_.end_token);
  if (end == ids + context) throw Error("bad_batch", "expected the end token " + std::to_string(*arch_.end_token) + " in every text");
  return end - ids;
}

at::Tensor ClipText::embed(const std::vector<int32_t>& ids, int64_t n, int64_t context) const {
  if (context < 1 || context > arch_.context) {
    throw Error("bad_batch", "expected 1 to " + std::to_string(arch_.context) + " ids a text, found " + std::to_string(context));
  }
  const auto device = token_embedding_.device();
  auto positions = at::empty({n}, at::kLong);
  int64_t tokens = 1;
  for (int64_t i = 0; i < n; ++i) {
    const auto end = end_of(ids.data() + i * context, context);
    positions.mutable_data_ptr<int64_t>()[i] = end;
    tokens = std::max(tokens, end + 1);
  }
  // No token sees those behind it, so that what follows the last end of the batch changes nothing.
  auto used = at::empty({n, tokens}, at::kLong);
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(ids.data() + i * context, tokens, used.mutable_data_ptr<int64_t>() + i * tokens);
  }
  const auto x = at::embedding(token_embedding_, used.to(device)) + positional_embedding_.narrow(0, 0, tokens);
  // The projection of one row a text is not worth rounding: fp32 in every precision.
  return at::mm(ln_final_(transformer_.causal_row(x, positions.to(device))), text_projection_);
}

}  // namespace kuea
