#include "models/llama.h"

#include <array>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include "ops/rms_norm.h"

namespace kuea {
namespace {

LlamaLayer make_layer(const LlamaArch& arch, int64_t index, FrozenWeights& weights, const std::optional<LoraShape>& shape,
                      FlatParameters& lora, at::ScalarType compute) {
  const auto prefix = "model.layers." + std::to_string(index) + ".";
  auto module = static_cast<uint32_t>(7 * index);
  const auto map = [&](const std::string& name, int64_t in, int64_t out) {
    auto weight = weights.linear(prefix + name + ".weight", out, in);
    const FlatParameter *a = nullptr, *b = nullptr;
    if (shape) {
      a = &lora.add(prefix + name + ".lora_A.weight", {shape->rank, in});
      b = &lora.add(prefix + name + ".lora_B.weight", {out, shape->rank});
    }
    return LoraLinear(std::move(weight), a, b, shape ? shape->scale : 0, module++);
  };
  const auto width = arch.width, mlp = arch.mlp_width;
  return {weights.tensor(prefix + "input_layernorm.weight", {width}, compute),
          weights.tensor(prefix + "post_attention_layernorm.weight", {width}, compute),
          // Braces evaluate from left to right, which numbers the maps.
          LlamaLayer::Maps{map("self_attn.q_proj", width, width), map("self_attn.k_proj", width, width),
                           map("self_attn.v_proj", width, width), map("self_attn.o_proj", width, width), map("mlp.gate_proj", width, mlp),
                           map("mlp.up_proj", width, mlp), map("mlp.down_proj", mlp, width)},
          arch.heads, arch.rms_norm_eps};
}

}  // namespace

Llama::Llama(const LlamaArch& arch, FrozenWeights& weights, const std::optional<LoraShape>& shape, FlatParameters& lora,
             at::ScalarType compute, at::Device device)
    : arch_(arch),
      compute_(compute),
      device_(device),
      embed_tokens_(weights.tensor("model.embed_tokens.weight", {arch.vocabulary, arch.width})),
      layers_([&] {
        std::vector<LlamaLayer> layers;
        for (int64_t i = 0; i < arch.layers; ++i) layers.push_back(make_layer(arch, i, weights, shape, lora, compute));
        return layers;
      }()),
      norm_(weights.tensor("model.norm.weight", {arch.width}, compute)),
      lm_head_(weights.tensor("lm_head.weight", {arch.vocabulary, arch.width})) {}

at::Tensor Llama::embed(const at::Tensor& ids) const { return at::embedding(embed_tokens_, ids).to(compute_); }

Sequence Llama::sequence(std::vector<int64_t> lengths, int64_t first) const {
  auto rotary = rotary_table(lengths, first, arch_.width / arch_.heads, arch_.rope_theta, device_);
  return {std::move(lengths), std::move(rotary), {}};
}

at::Tensor Llama::forward(at::Tensor x, const Sequence& sequence, const at::Tensor& rows, std::vector<LlamaLayerState>* states,
                          const Keeping& keeping) const {
  if (states != nullptr) states->resize(layers_.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& chosen = i + 1 == layers_.size() ? rows : at::Tensor();
    auto* state = states == nullptr ? nullptr : &(*states)[i];
    if (state != nullptr && keeping.inputs_only) state->x = keeping.on_host ? x.to(at::kCPU) : x;
    x = layers_[i].forward(x, sequence, chosen, keeping.inputs_only ? nullptr : state);
  }
  return x;
}

at::Tensor Llama::backward(at::Tensor g, const Sequence& sequence, const at::Tensor& rows, std::vector<LlamaLayerState>& states,
                           const Keeping& keeping, bool through) const {
  for (size_t i = layers_.size(); i-- > 0;) {
    const auto& chosen = i + 1 == layers_.size() ? rows : at::Tensor();
    auto state = std::exchange(states[i], {});
    if (keeping.inputs_only) layers_[i].forward(state.x.to(device_), sequence, chosen, &state);
    g = layers_[i].backward(std::move(g), sequence, chosen, state, through || i > 0);
  }
  return g;
}

CrossEntropy Llama::loss(const at::Tensor& hidden, const at::Tensor& targets, const at::Tensor& weights, bool gradient) const {
  at::Tensor rstd;
  const auto normed = rms_norm(hidden, norm_, arch_.rms_norm_eps, &rstd);
  auto result = cross_entropy(normed, lm_head_.dense(compute_), targets, weights, gradient);
  if (gradient) {
    auto g = at::zeros_like(hidden);
    rms_norm_backward(hidden, norm_, rstd, result.gradient, g);
    result.gradient = g;
  }
  return result;
}

at::Tensor Llama::next_logits(at::Tensor x, std::vector<KeyValueCache>& caches) const {
  caches.resize(layers_.size());
  const auto sequence = this->sequence({x.size(0)}, caches[0].length);
  const auto last = at::tensor(at::ArrayRef<int64_t>{x.size(0) - 1}, at::kLong).to(device_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    x = layers_[i].generate(x, sequence, i + 1 == layers_.size() ? last : at::Tensor(), caches[i]);
  }
  return at::mm(rms_norm(x, norm_, arch_.rms_norm_eps), lm_head_.dense(compute_).t()).select(0, 0).to(at::kFloat);
}

}  // namespace kuea
