#include <algorithm>
#include <map>

#include "bind/args.h"
#include "bind/registry.h"
#include "bind/resource.h"
#include "train/align_trainer.h"

namespace kuea {
namespace {

using TrainerHandle = std::shared_ptr<Handle<AlignTrainer>>;

const std::map<std::string, State> states{{"value", State::value}, {"exp_avg", State::exp_avg}, {"exp_avg_sq", State::exp_avg_sq}};

TrainerSpec trainer_spec(const Napi::Object& o) {
  const auto kernel = args::object(o, "kernel");
  const auto optimizer = args::object(o, "optimizer");
  TrainerSpec spec{.student = args::encoder_spec(args::object(o, "student")),
                   .teacher = {},
                   .teacher_dim = args::integer(o, "teacherDim"),
                   .teacher_size = args::integer(o, "teacherSize"),
                   .image_size = 0,
                   .kernel = args::kernel_kind(kernel),
                   .gamma = args::number(kernel, "gamma"),
                   .c = args::number(kernel, "c"),
                   .sigma = args::number(kernel, "sigma"),
                   .sigma_teacher = args::number(kernel, "sigmaTeacher"),
                   .train_kernel = args::boolean(o, "trainKernel"),
                   .w = args::number(o, "w"),
                   .fused_loss = args::string(o, "lossBackend") == "fused",
                   .compute = args::precision(o),
                   .device = args::device(o),
                   .optimizer = {args::number(optimizer, "beta1"), args::number(optimizer, "beta2"), args::number(optimizer, "eps")},
                   .weight_decay = args::number(optimizer, "weightDecay"),
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

Napi::Value step(const TrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, slot = args::integer(o, "slot"), count = args::integer(o, "count"), rows = args::rows(o, "rows"), lr = args::number(o, "lr"),
           log = args::boolean(o, "log")] { return handle->get().step(static_cast<size_t>(slot), count, rows, lr, log); },
          [](Napi::Env env, const std::optional<StepMetrics>& metrics) -> Napi::Value {
            if (!metrics) return env.Null();
            auto out = Napi::Object::New(env);
            out.Set("loss", metrics->loss);
            out.Set("kernelLoss", metrics->kernel_loss);
            out.Set("anchorLoss", metrics->anchor_loss);
            out.Set("cosineToOriginal", metrics->cosine_to_original);
            out.Set("gamma", metrics->gamma);
            out.Set("c", metrics->c);
            out.Set("sigma", metrics->sigma);
            out.Set("seconds", metrics->seconds);
            out.Set("exchangeSeconds", metrics->exchange_seconds);
            out.Set("reduceSeconds", metrics->reduce_seconds);
            return out;
          });
}

Napi::Value embed(const TrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  return Environment::of(call.Env())
      .on_device(
          call.Env(),
          [handle, slot = args::integer(o, "slot"), count = args::integer(o, "count"), rows = args::rows(o, "rows")] {
            return handle->get().embed(static_cast<size_t>(slot), count, rows);
          },
          [](Napi::Env env, int64_t computed) -> Napi::Value { return Napi::Number::New(env, static_cast<double>(computed)); });
}

Napi::Value open_cache(const TrainerHandle& handle, const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  const CacheSpec spec{args::string(o, "file"), args::integer(o, "rows"), args::integer(o, "original"), args::integer(o, "teacher"), args::integer(o, "present")};
  return Environment::of(call.Env()).on_device(call.Env(), [handle, spec] { handle->get().open_cache(spec); });
}

Napi::Value restore(const TrainerHandle& handle, const Napi::CallbackInfo& call) {
  std::map<State, std::vector<LoadStep>> plans;
  args::each(call[0], [&](const Napi::Object& o) {
    const auto state = o.Get("state").IsString() ? states.at(args::string(o, "state")) : State::value;
    plans[state].push_back(args::load_step(o));
  });
  return Environment::of(call.Env()).on_device(call.Env(), [handle, plans, steps = call[1].ToNumber().Int64Value()]() mutable {
    handle->get().restore(plans[State::value], plans[State::exp_avg], plans[State::exp_avg_sq], steps);
  });
}

Napi::Value write(const TrainerHandle& handle, const Napi::CallbackInfo& call) {
  return Environment::of(call.Env())
      .on_device(call.Env(), [handle, path = call[0].ToString().Utf8Value(), header = bytes(call[1]), steps = write_steps(call[2])] {
        handle->get().check();
        std::map<std::string, std::map<std::string, at::Tensor>> tensors;
        for (const auto& [name, state] : states) {
          for (const auto& parameter : handle->get().tensors(state)) tensors[name][parameter.name] = parameter.value;
        }
        write_plan(path, header, steps, [&](const std::string& name, const std::string& state) {
          const auto found = tensors[state].find(name);
          if (found == tensors[state].end()) throw Error("bad_plan", "the trainer has no " + state + " of " + name);
          return found->second;
        });
      });
}

/** The ring's memory as views that keep it alive, whatever is closed first. */
Napi::Value slots(Napi::Env env, const std::shared_ptr<BatchRing>& ring) {
  auto list = Napi::Array::New(env, ring->count());
  for (uint32_t i = 0; i < ring->count(); ++i) {
    auto* owner = new std::shared_ptr<BatchRing>(ring);
    auto buffer = Napi::ArrayBuffer::New(env, ring->slot(i), ring->bytes(), [](Napi::BasicEnv, void*, std::shared_ptr<BatchRing>* held) { delete held; }, owner);
    list.Set(i, Napi::Uint8Array::New(env, ring->bytes(), buffer, 0));
  }
  return list;
}

Napi::Value open_trainer(const Napi::CallbackInfo& call) {
  auto& environment = Environment::of(call.Env());
  return environment.on_device(
      call.Env(),
      [spec = trainer_spec(call[0].As<Napi::Object>()), distributed = args::boolean(call[0].As<Napi::Object>(), "distributed")]() mutable {
        if (distributed) spec.group = ProcessGroup::current();
        return std::make_shared<Handle<AlignTrainer>>(std::make_unique<AlignTrainer>(spec));
      },
      [&environment](Napi::Env env, const TrainerHandle& handle) -> Napi::Value {
        environment.add(handle);
        auto object = Napi::Object::New(env);
        object.Set("slots", slots(env, handle->get().ring()));
        object.Set("parameters", args::parameter_list(env, handle->get().tensors(State::value)));
        const auto method = [&](const char* name, Napi::Value (*function)(const TrainerHandle&, const Napi::CallbackInfo&)) {
          object.Set(name, Napi::Function::New(env, [handle, function](const Napi::CallbackInfo& c) { return function(handle, c); }));
        };
        method("openCache", open_cache);
        method("step", step);
        method("embed", embed);
        method("restore", restore);
        method("write", write);
        add_close(env, object, handle);
        return object;
      });
}

}  // namespace

void register_trainer(Napi::Env env, Napi::Object exports) { exports.Set("openTrainer", Napi::Function::New(env, open_trainer)); }

}  // namespace kuea
