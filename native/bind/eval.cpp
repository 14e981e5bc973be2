#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/args.h"
#include "bind/registry.h"
#include "bind/handle.h"
#include "eval/adamw_probe.h"
#include "eval/logistic_regression.h"
#include "eval/top_k.h"

namespace kuea {
namespace {

/** Keeps a typed array where it is, for as long as a copy of this lives; let go on the JavaScript thread. */
using Held = std::shared_ptr<Napi::Reference<Napi::Float32Array>>;

struct Matrix {
  Features features;
  Held held;
};

/** {data, normalise} of `key`, as rows of `width` numbers that are not copied. */
Matrix matrix(const Napi::Object& options, const char* key, int64_t width, const char* name) {
  const auto o = args::object(options, key);
  const auto value = o.Get("data");
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throw Napi::TypeError::New(options.Env(), std::string("expected a Float32Array for data of ") + key);
  auto array = value.As<Napi::Float32Array>();
  const auto length = static_cast<int64_t>(array.ElementLength());
  if (width < 1 || length < 1 || length % width != 0)
    throw Napi::RangeError::New(options.Env(), std::string("expected whole rows, at least one, in ") + key);
  auto held = std::make_shared<Napi::Reference<Napi::Float32Array>>(Napi::Persistent(array));
  return {{name, array.Data(), length / width, width, args::boolean(o, "normalise")}, held};
}

template <class Array, class T>
Napi::Value typed_array(Napi::Env env, const std::vector<T>& values) {
  auto out = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), out.Data());
  return out;
}

Napi::Object ranking(Napi::Env env, const Ranking& r) {
  auto out = Napi::Object::New(env);
  out.Set("k", static_cast<double>(r.k));
  out.Set("indices", typed_array<Napi::Int32Array>(env, r.indices));
  out.Set("scores", typed_array<Napi::Float32Array>(env, r.scores));
  return out;
}

Napi::Value top_k_call(const Napi::CallbackInfo& call) {
  auto env = call.Env();
  const auto o = call[0].As<Napi::Object>();
  const int64_t width = args::integer(o, "width"), k = args::integer(o, "k");
  if (k < 1) throw Napi::RangeError::New(env, "expected k of at least 1");
  const auto queries = matrix(o, "queries", width, "queries"), gallery = matrix(o, "gallery", width, "gallery");
  const auto bias = o.Get("bias").IsTypedArray() ? args::floats(o, "bias") : std::vector<float>();
  if (!bias.empty() && static_cast<int64_t>(bias.size()) != gallery.features.rows)
    throw Napi::RangeError::New(env, "expected a bias for each row of the gallery");
  const bool both = args::boolean(o, "bothWays");
  return Environment::of(env).on_device(
      env, [q = queries.features, g = gallery.features, bias, k, both] { return top_k(q, g, bias, k, both); },
      // The arrays are held until here.
      [held = std::make_pair(queries.held, gallery.held)](Napi::Env e, const Rankings& r) -> Napi::Value {
        auto out = Napi::Object::New(e);
        out.Set("ofQueries", ranking(e, r.of_queries));
        out.Set("ofGallery", r.of_gallery ? ranking(e, *r.of_gallery) : e.Null());
        return out;
      });
}

Napi::Value solution(Napi::Env env, const LinearSolution& s) {
  auto out = Napi::Object::New(env);
  out.Set("weight", typed_array<Napi::Float64Array>(env, s.weight));
  out.Set("bias", typed_array<Napi::Float64Array>(env, s.bias));
  return out;
}

struct Labelled {
  Matrix matrix;
  std::vector<int64_t> labels;
  int64_t classes;
};

Labelled labelled(const Napi::Object& o) {
  Labelled out{matrix(o, "features", args::integer(o, "width"), "features"), args::ints(o, "labels"), args::integer(o, "classes")};
  if (static_cast<int64_t>(out.labels.size()) != out.matrix.features.rows)
    throw Napi::RangeError::New(o.Env(), "expected a label for each row of the features");
  if (out.classes < 1) throw Napi::RangeError::New(o.Env(), "expected at least one class");
  return out;
}

/** Opens a T; its methods are added by `methods(env, object, handle, held)`, which keep the features. */
template <class T, class Make, class Methods>
Napi::Value open(Napi::Env env, const Held& held, Make make, Methods methods) {
  auto& environment = Environment::of(env);
  return environment.on_device(
      env, [make] { return std::make_shared<Handle<T>>(make()); },
      [&environment, held, methods](Napi::Env e, const std::shared_ptr<Handle<T>>& handle) -> Napi::Value {
        environment.add(handle);
        auto object = Napi::Object::New(e);
        methods(e, object, handle, held);
        object.Set("solution", Napi::Function::New(e, [handle](const Napi::CallbackInfo& c) {
                     return Environment::of(c.Env()).on_device(c.Env(), [handle] { return handle->get().solution(); }, solution);
                   }));
        add_close(e, object, handle);
        return object;
      });
}

struct Progress {
  int64_t iterations, evaluations;
  double objective, gradient_norm;
  bool stalled;
};

Napi::Value progress(Napi::Env env, const Progress& p) {
  auto out = Napi::Object::New(env);
  out.Set("iterations", static_cast<double>(p.iterations));
  out.Set("evaluations", static_cast<double>(p.evaluations));
  out.Set("objective", p.objective);
  out.Set("gradientNorm", p.gradient_norm);
  out.Set("stalled", p.stalled);
  return out;
}

Napi::Value open_logistic_regression(const Napi::CallbackInfo& call) {
  const auto o = call[0].As<Napi::Object>();
  const auto [matrix, labels, classes] = labelled(o);
  const double l2 = args::number(o, "l2");
  const auto history = static_cast<size_t>(args::integer(o, "history"));
  const auto make = [features = matrix.features, labels = labels, classes = classes, l2, history] {
    return std::make_unique<LogisticRegression>(features, labels, classes, l2, history);
  };
  return open<LogisticRegression>(call.Env(), matrix.held, make, [](Napi::Env env, Napi::Object object, auto handle, const Held& held) {
    object.Set("iterate", Napi::Function::New(env, [handle, held](const Napi::CallbackInfo& c) {
                 const auto work = [handle, count = c[0].ToNumber().Int64Value()]() -> Progress {
                   auto& solver = handle->get().solver();
                   for (int64_t i = 0; i < count; ++i) solver.iterate();
                   return {solver.iterations(), solver.evaluations(), solver.value(), solver.gradient_norm(), solver.stalled()};
                 };
                 return Environment::of(c.Env()).on_device(c.Env(), work,
                                                           [held](Napi::Env e, const Progress& p) { return progress(e, p); });
               }));
  });
}

Napi::Value open_adamw_probe(const Napi::CallbackInfo& call) {
  auto env = call.Env();
  const auto o = call[0].As<Napi::Object>();
  const auto [matrix, labels, classes] = labelled(o);
  const auto weight = args::floats(o, "weight"), bias = args::floats(o, "bias");
  if (static_cast<int64_t>(weight.size()) != classes * matrix.features.width || static_cast<int64_t>(bias.size()) != classes)
    throw Napi::RangeError::New(env, "expected weight [classes, width] and bias [classes]");
  const auto make = [features = matrix.features, labels = labels, classes = classes, weight, bias, decay = args::number(o, "weightDecay")] {
    return std::make_unique<AdamWProbe>(features, labels, classes, weight, bias, decay);
  };
  const auto methods = [rows = matrix.features.rows](Napi::Env e, Napi::Object object, auto handle, const Held& held) {
    object.Set("steps", Napi::Function::New(e, [handle, held, rows](const Napi::CallbackInfo& c) {
                 const auto request = c[0].As<Napi::Object>();
                 const auto order = args::rows(request, "order");
                 const auto batch = args::integer(request, "batch");
                 const auto rates = args::doubles(request, "learningRates");
                 const bool inside = std::all_of(order.begin(), order.end(), [&](uint32_t row) { return row < rows; });
                 const auto steps = batch < 1 ? 0 : (static_cast<int64_t>(order.size()) + batch - 1) / batch;
                 if (!inside || steps < 1 || steps != static_cast<int64_t>(rates.size()))
                   throw Napi::RangeError::New(c.Env(), "expected an order of rows, and a learning rate for each batch of it");
                 return Environment::of(c.Env()).on_device(
                     c.Env(), [handle, order, batch, rates] { return handle->get().steps(order, batch, rates); },
                     [held](Napi::Env n, double loss) -> Napi::Value { return Napi::Number::New(n, loss); });
               }));
  };
  return open<AdamWProbe>(env, matrix.held, make, methods);
}

}  // namespace

void register_eval(Napi::Env env, Napi::Object exports) {
  exports.Set("topK", Napi::Function::New(env, top_k_call));
  exports.Set("openLogisticRegression", Napi::Function::New(env, open_logistic_regression));
  exports.Set("openAdamWProbe", Napi::Function::New(env, open_adamw_probe));
}

}  // namespace kuea
