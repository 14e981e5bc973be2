#include "train/lora_trainer.h"

#include "bind/args.h"
#include "bind/registry.h"
#include "bind/trainer_methods.h"

namespace kuea {
namespace {

using LoraTrainerHandle = std::shared_ptr<Handle<LoraTrainer>>;

LoraTrainerSpec lora_trainer_spec(const Napi::Object& o) {
  const auto optimizer = args::object(o, "optimizer");
  return {.model = args::llava_spec(args::object(o, "model")),
          .dropout = args::number(o, "dropout"),
          .seed = static_cast<uint64_t>(args::integer(o, "seed")),
          .train_projector = args::boolean(o, "trainProjector"),
          .optimizer = {args::number(optimizer, "beta1"), args::number(optimizer, "beta2"), args::number(optimizer, "eps")},
          .weight_decay = args::number(optimizer, "weightDecay"),
          .max_grad_norm = args::number(o, "maxGradNorm"),
          .keeping = {args::boolean(o, "gradientCheckpointing"), args::boolean(o, "offload")},
          .slots = args::integer(o, "slots"),
          .images_per_slot = args::integer(o, "imagesPerSlot"),
          .pixels = args::string(o, "pixels") == "u8" ? at::kByte : at::kFloat,
          .group = nullptr};
}

MicroBatch micro_batch(const Napi::Object& o) {
  return {args::integer(o, "slot"),   args::integer(o, "images"),  args::ints(o, "tokens"),
          args::ints(o, "labels"),    args::ints(o, "lengths"),    args::ints(o, "imageRows"),
          args::floats(o, "weights"), args::rows(o, "sampleKeys"), args::number(o, "denominator")};
}

Napi::Value accumulate(const LoraTrainerHandle& handle, const Napi::CallbackInfo& call) {
  return Environment::of(call.Env()).on_device(call.Env(), [handle, batch = micro_batch(call[0].As<Napi::Object>())] {
    handle->get().accumulate(batch);
  });
}

Napi::Value update(const LoraTrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, lr = args::number(o, "lr"), projector_lr = args::number(o, "projectorLr"), log = args::boolean(o, "log")] {
            return handle->get().update(lr, projector_lr, log);
          },
          [](Napi::Env env, const std::optional<LoraMetrics>& metrics) -> Napi::Value {
            if (!metrics) return env.Null();
            auto out = Napi::Object::New(env);
            out.Set("loss", metrics->loss);
            out.Set("gradNorm", metrics->grad_norm);
            out.Set("labels", static_cast<double>(metrics->labels));
            out.Set("tokens", static_cast<double>(metrics->tokens));
            out.Set("seconds", metrics->seconds);
            return out;
          });
}

Napi::Value evaluate(const LoraTrainerHandle& handle, const Napi::CallbackInfo& call) {
  auto batch = micro_batch(call[0].As<Napi::Object>());
  const double denominator = batch.denominator;
  return Environment::of(call.Env())
      .on_device(
          call.Env(), [handle, batch = std::move(batch)] { return handle->get().evaluate(batch); },
          [denominator](Napi::Env env, const LoraTrainer::Evaluation& evaluation) -> Napi::Value {
            auto out = Napi::Object::New(env);
            out.Set("loss", evaluation.loss);
            out.Set("denominator", denominator);
            out.Set("labels", static_cast<double>(evaluation.labels));
            return out;
          });
}

Napi::Value gather(const LoraTrainerHandle& handle, const Napi::CallbackInfo& call) {
  return Environment::of(call.Env()).on_device(call.Env(), [handle] { handle->get().gather(); });
}

Napi::Value open_lora_trainer(const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [spec = lora_trainer_spec(o), distributed = args::boolean(o, "distributed")]() mutable {
            if (distributed) spec.group = ProcessGroup::current();
            return std::make_shared<Handle<LoraTrainer>>(std::make_unique<LoraTrainer>(spec));
          },
          [](Napi::Env env, const LoraTrainerHandle& handle) -> Napi::Value {
            auto object = trainer_object(env, handle);
            const auto method = [&](const char* name, Napi::Value (*function)(const LoraTrainerHandle&, const Napi::CallbackInfo&)) {
              object.Set(name, Napi::Function::New(env, [handle, function](const Napi::CallbackInfo& c) { return function(handle, c); }));
            };
            method("accumulate", accumulate);
            method("update", update);
            method("evaluate", evaluate);
            method("gather", gather);
            return object;
          });
}

}  // namespace

void register_lora_trainer(Napi::Env env, Napi::Object exports) {
  exports.Set("openLoraTrainer", Napi::Function::New(env, open_lora_trainer));
}

}  // namespace kuea
