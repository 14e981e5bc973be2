#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/args.h"
#include "bind/handle.h"
#include "runtime/batch_ring.h"
#include "train/state.h"

// What the trainers' JavaScript objects have in common. A trainer T has tensors(State), restore(values, exp_avg, exp_avg_sq, steps) and
// ring(), and may have a check() that throws when what it holds must not be kept.
namespace kuea {

inline const std::map<std::string, State> states{{"value", State::value}, {"exp_avg", State::exp_avg}, {"exp_avg_sq", State::exp_avg_sq}};

template <class T>
Napi::Value restore_trainer(const std::shared_ptr<Handle<T>>& handle, const Napi::CallbackInfo& call) {
  std::map<State, std::vector<LoadStep>> plans;
  args::each(call[0], [&](const Napi::Object& o) {
    const auto state = o.Get("state").IsString() ? args::choice(o, "state", states) : State::value;
    plans[state].push_back(args::load_step(o));
  });
  return Environment::of(call.Env()).on_device(call.Env(), [handle, plans, steps = call[1].ToNumber().Int64Value()]() mutable {
    handle->get().restore(plans[State::value], plans[State::exp_avg], plans[State::exp_avg_sq], steps);
  });
}

template <class T>
Napi::Value write_trainer(const std::shared_ptr<Handle<T>>& handle, const Napi::CallbackInfo& call) {
  return Environment::of(call.Env())
      .on_device(call.Env(),
                 [handle, path = call[0].ToString().Utf8Value(), header = args::bytes(call[1]), steps = args::write_steps(call[2])] {
                   // An update whose loss was never read may have been no update: its weights are not for keeping.
                   if constexpr (requires { handle->get().check(); }) handle->get().check();
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
inline Napi::Value ring_slots(Napi::Env env, const std::shared_ptr<BatchRing>& ring) {
  auto list = Napi::Array::New(env, ring->count());
  for (uint32_t i = 0; i < ring->count(); ++i) {
    auto* owner = new std::shared_ptr<BatchRing>(ring);
    auto buffer = Napi::ArrayBuffer::New(
        env, ring->slot(i), ring->bytes(), [](Napi::BasicEnv, void*, std::shared_ptr<BatchRing>* held) { delete held; }, owner);
    list.Set(i, Napi::Uint8Array::New(env, ring->bytes(), buffer, 0));
  }
  return list;
}

/** An object with the slots and parameters of an open trainer, and its restore, write and close. */
template <class T>
Napi::Object trainer_object(Napi::Env env, const std::shared_ptr<Handle<T>>& handle) {
  Environment::of(env).add(handle);
  auto object = Napi::Object::New(env);
  object.Set("slots", ring_slots(env, handle->get().ring()));
  object.Set("parameters", args::parameter_list(env, handle->get().tensors(State::value)));
  object.Set("restore", Napi::Function::New(env, [handle](const Napi::CallbackInfo& call) { return restore_trainer(handle, call); }));
  object.Set("write", Napi::Function::New(env, [handle](const Napi::CallbackInfo& call) { return write_trainer(handle, call); }));
  add_close(env, object, handle);
  return object;
}

}  // namespace kuea
