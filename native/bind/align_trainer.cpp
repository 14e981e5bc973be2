#include "bind/args.h"
#include "bind/registry.h"
#include "bind/trainer_methods.h"
#include "train/align_trainer.h"

namespace kuea {
namespace {

using AlignTrainerHandle = std::shared_ptr<Handle<AlignTrainer>>;

AlignTrainerSpec align_trainer_spec(const Napi::Object& o) {
  const auto kernel = args::kernel_spec(args::object(o, "kernel"));
  const auto optimizer = args::object(o, "optimizer");
  AlignTrainerSpec spec{.student = args::encoder_spec(args::object(o, "student")),
                        .teacher = {},
                        .teacher_dim = args::integer(o, "teacherDim"),
                        .teacher_size = args::integer(o, "teacherSize"),
                        .image_size = 0,
                        .kernel = kernel,
                        .train_kernel = args::boolean(o, "trainKernel"),
                        .w = args::number(o, "w"),
                        .fused_loss = args::string(o, "lossBackend") == "fused",
                        .compute = args::precision(o),
                        .device = args::device(o),
                        .optimizer = {args::number(optimizer, "beta1"), args::number(optimizer, "beta2"), args::number(optimizer, "eps")},
                        .weight_decay = args::number(optimizer, "weightDecay"),
                        .max_grad_norm = args::number(o, "maxGradNorm"),
                        .batch_size = args::integer(o, "batchSize"),
                        .micro_batch = args::integer(o, "microBatch"),
                        .activation_checkpointing = args::boolean(o, "activationCheckpointing"),
                        .slots = args::integer(o, "slots"),
                        .group = nullptr,
                        .local_kernel = args::string(o, "kernelScope") == "local"};
  if (o.Get("teacher").IsObject()) spec.teacher = args::encoder_spec(args::object(o, "teacher"));
  spec.image_size = std::get<ClipVisionArch>(spec.student.arch).image_size;
  return spec;
}

void set_losses(Napi::Object& out, const StepMetrics& metrics) {
  out.Set("loss", metrics.loss);
  out.Set("kernelLoss", metrics.kernel_loss);
  out.Set("anchorLoss", metrics.anchor_loss);
  out.Set("cosineToOriginal", metrics.cosine_to_original);
}

Napi::Value step(const AlignTrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, slot = args::integer(o, "slot"), count = args::integer(o, "count"), rows = args::rows(o, "rows"),
           lr = args::number(o, "lr"),
           log = args::boolean(o, "log")] { return handle->get().step(static_cast<size_t>(slot), count, rows, lr, log); },
          [](Napi::Env env, const std::optional<StepMetrics>& metrics) -> Napi::Value {
            if (!metrics) return env.Null();
            auto out = Napi::Object::New(env);
            set_losses(out, *metrics);
            out.Set("gradNorm", metrics->grad_norm);
            out.Set("gamma", metrics->gamma);
            out.Set("c", metrics->c);
            out.Set("sigma", metrics->sigma);
            out.Set("seconds", metrics->seconds);
            const auto time = [&](const std::optional<double>& seconds) { return seconds ? Napi::Number::New(env, *seconds) : env.Null(); };
            out.Set("exchangeSeconds", time(metrics->exchange_seconds));
            out.Set("reduceSeconds", time(metrics->reduce_seconds));
            return out;
          });
}

Napi::Value evaluate(const AlignTrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  const bool has_rows = !o.Get("rows").IsNull();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, slot = args::integer(o, "slot"), count = args::integer(o, "count"), has_rows,
           rows = has_rows ? args::rows(o, "rows") : std::vector<uint32_t>{}] {
            const auto given = has_rows ? std::optional<std::span<const uint32_t>>(rows) : std::nullopt;
            return handle->get().evaluate(static_cast<size_t>(slot), count, given);
          },
          [](Napi::Env env, const StepMetrics& metrics) -> Napi::Value {
            auto out = Napi::Object::New(env);
            set_losses(out, metrics);
            return out;
          });
}

Napi::Value embed(const AlignTrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, slot = args::integer(o, "slot"), count = args::integer(o, "count"), rows = args::rows(o, "rows")] {
            return handle->get().embed(static_cast<size_t>(slot), count, rows);
          },
          [](Napi::Env env, int64_t computed) -> Napi::Value { return Napi::Number::New(env, static_cast<double>(computed)); });
}

Napi::Value open_cache(const AlignTrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  const CacheSpec spec{args::string(o, "file"), args::integer(o, "rows"), args::integer(o, "original"), args::integer(o, "teacher"),
                       args::integer(o, "checksums")};
  return Environment::of(call.Env()).on_device(call.Env(), [handle, spec] { handle->get().open_cache(spec); });
}

Napi::Value open_align_trainer(const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [spec = align_trainer_spec(o), distributed = args::boolean(o, "distributed")]() mutable {
            if (distributed) spec.group = ProcessGroup::current();
            return std::make_shared<Handle<AlignTrainer>>(std::make_unique<AlignTrainer>(spec));
          },
          [](Napi::Env env, const AlignTrainerHandle& handle) -> Napi::Value {
            auto object = trainer_object(env, handle);
            const auto method = [&](const char* name, Napi::Value (*function)(const AlignTrainerHandle&, const Napi::CallbackInfo&)) {
              object.Set(name, Napi::Function::New(env, [handle, function](const Napi::CallbackInfo& c) { return function(handle, c); }));
            };
            method("openCache", open_cache);
            method("step", step);
            method("evaluate", evaluate);
            method("embed", embed);
            return object;
          });
}

}  // namespace

void register_align_trainer(Napi::Env env, Napi::Object exports) {
  exports.Set("openTrainer", Napi::Function::New(env, open_align_trainer));
}

}  // namespace kuea
