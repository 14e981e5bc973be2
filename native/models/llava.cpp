#include "models/llava.h"

#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/nonzero.h>

#include "models/encoder.h"

namespace kuea {
namespace {

const LlavaSpec& checked(const LlavaSpec& spec) {
  check_arch(spec.vision);
  check_arch(spec.llama);
  return spec;
}

/** A ~ U(-1 / sqrt(in), 1 / sqrt(in)), B = 0: the adapted model starts as the base itself. Drawn on the CPU, the same on every device. */
void initialise(const FlatParameters& lora, uint64_t seed) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  for (const auto& [name, value] : lora.all()) {
    auto target = value;
    if (name.ends_with(".lora_B.weight")) {
      target.zero_();
      continue;
    }
    const double bound = 1 / std::sqrt(static_cast<double>(value.size(1)));
    target.copy_(at::empty(value.sizes(), at::kFloat).uniform_(-bound, bound, generator));
  }
}

}  // namespace

Llava::Llava(const LlavaSpec& spec, bool train_lora, bool train_projector, int64_t ranks)
    : spec_(checked(spec)),
      weights_(spec.weights, spec.base, spec.device),
      vision_(spec.vision, spec.ln_post, spec.compute, spec.device),
      projector_(projector_parameters_, spec.vision.width, spec.llama.width),
      llama_(spec.llama, weights_, spec.lora ? std::optional(spec.lora->shape) : std::nullopt, lora_, spec.compute, spec.device),
      mean_(channels(spec.mean, spec.device)),
      std_(channels(spec.std, spec.device)) {
  auto vision = weights_.take("vision.");
  for (auto& step : vision) step.parameter = step.parameter.substr(7);
  load_tensors(vision_.parameters(), vision);
  projector_parameters_.allocate(spec.compute, spec.device, train_projector, ranks);
  load_tensors(projector_parameters_.all(), weights_.take("model.mm_projector."));
  projector_parameters_.refresh();
  weights_.finish();
  lora_.allocate(spec.compute, spec.device, train_lora, ranks);
  if (spec.lora && spec.lora->weights)
    load_tensors(lora_.all(), *spec.lora->weights);
  else if (spec.lora)
    initialise(lora_, spec.lora->seed);
  lora_.refresh();
}

at::Tensor Llava::features(const at::Tensor& pixels) const {
  auto x = pixels.to(spec_.device);
  if (x.scalar_type() == at::kByte) x = x.to(at::kFloat).div_(255).sub_(mean_).div_(std_);
  return vision_(x).to(spec_.compute).reshape({-1, spec_.vision.width});
}

at::Tensor Llava::embed(const at::Tensor& ids, const at::Tensor& projected, const at::Tensor& image_rows) const {
  auto x = llama_.embed(ids.clamp_min(0));
  if (image_rows.numel() > 0) x.index_copy_(0, image_positions(ids), projected.index_select(0, image_rows));
  return x;
}

at::Tensor image_positions(const at::Tensor& ids) { return (ids == image_token).nonzero().squeeze(1); }

}  // namespace kuea
