#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <torch/csrc/autograd/autograd.h>

#include "bind/args.h"
#include "bind/environment.h"
#include "bind/registry.h"
#include "dist/process_group.h"
#include "ops/kernel_alignment.h"

namespace kuea {
namespace {

struct Result {
  double loss, dgamma, dc, dsigma, seconds;
  at::Tensor dx;
};

using Backend = at::Tensor (*)(const at::Tensor&, const at::Tensor&, const KernelParams&, const std::optional<Gathered>&);

const std::map<std::string, Backend> backends{{"fused", kernel_alignment},
                                              {"plain", kernel_alignment_plain},
                                              {"chunked", kernel_alignment_chunked},
                                              {"twin", kernel_alignment_twin},
                                              {"twin_reversed", kernel_alignment_twin_reversed}};

/** `counts`: the rows of each rank. Rows alone need no other rank; an exchange needs the process group. */
Gathered of_rank(const at::Tensor& x, const std::vector<int64_t>& counts, int64_t rank) {
  const auto sum = [](const at::Tensor& t) { ProcessGroup::current()->all_reduce(t); };
  return {x, std::accumulate(counts.begin(), counts.begin() + rank, int64_t{0}), rank, static_cast<int64_t>(counts.size()), sum};
}

/** `all`: the rank whose part is wanted, which has `count` rows. */
Result evaluate(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, Backend backend, bool gradient,
                const std::optional<Gathered>& all, int64_t count) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  at::AutoGradMode mode(gradient);
  const auto leaf = (all ? x.narrow(0, all->begin, count) : x).detach().requires_grad_(gradient);
  const auto loss = backend(leaf, y, params, all);
  if (!gradient) return {loss.item<double>(), 0, 0, 0, seconds(), {}};
  torch::autograd::backward({loss}, {});
  const auto grad = [](const at::Tensor& t) { return t.grad().defined() ? t.grad().item<double>() : 0; };
  return {loss.item<double>(), grad(params.gamma), grad(params.c), grad(params.sigma), seconds(), leaf.grad().to(at::kCPU)};
}

Napi::Value kernel_loss(const Napi::CallbackInfo& call) {
  auto env = call.Env();
  const auto o = call[0].As<Napi::Object>();
  const int64_t n = args::integer(o, "n"), d = args::integer(o, "d"), dt = args::integer(o, "dt");
  const auto matrix = [&](const char* key, int64_t columns) {
    const auto array = o.Get(key).As<Napi::Float32Array>();
    if (n < 1 || columns < 1 || static_cast<int64_t>(array.ElementLength()) != n * columns)
      throw Napi::RangeError::New(env, std::string("expected n rows in ") + key);
    return array;
  };
  auto x = matrix("x", d), y = matrix("y", dt);
  const auto spec = args::object(o, "kernel");
  const auto kind = args::kernel_kind(spec);
  const double gamma = args::number(spec, "gamma"), c = args::number(spec, "c"), sigma = args::number(spec, "sigma"),
               sigma_teacher = args::number(spec, "sigmaTeacher");
  const bool gradient = args::boolean(o, "gradient");
  std::vector<int64_t> counts;
  int64_t rank = 0;
  if (o.Get("counts").IsTypedArray()) {
    counts = args::ints(o, "counts");
    rank = args::integer(o, "rank");
    const bool negative = std::any_of(counts.begin(), counts.end(), [](int64_t count) { return count < 0; });
    if (negative || std::accumulate(counts.begin(), counts.end(), int64_t{0}) != n)
      throw Napi::RangeError::New(env, "expected counts of n rows in all");
    if (rank < 0 || rank >= static_cast<int64_t>(counts.size())) throw Napi::RangeError::New(env, "expected 0 <= rank < counts.length");
  }
  const auto backend = backends.at(args::string(o, "backend"));
  const auto device = o.Get("device").IsString() ? args::device(o) : at::Device(at::kCPU);
  // The arrays stay where they are: referenced until the promise settles, and not to be written meanwhile.
  auto held = std::make_shared<std::pair<Napi::Reference<Napi::Float32Array>, Napi::Reference<Napi::Float32Array>>>(Napi::Persistent(x),
                                                                                                                    Napi::Persistent(y));
  auto* px = x.Data();
  auto* py = y.Data();
  return Environment::of(env).on_device(
      env,
      [=] {
        const auto scalar = [&](double v) {
          return at::full({}, v, at::TensorOptions().dtype(at::kFloat).device(device)).requires_grad_(gradient);
        };
        const auto matrix = [&](float* data, int64_t columns) { return at::from_blob(data, {n, columns}, at::kFloat).to(device); };
        const KernelParams params{kind, scalar(gamma), scalar(c), scalar(sigma), sigma_teacher};
        const auto x = matrix(px, d), y = matrix(py, dt);
        if (counts.empty()) return evaluate(x, y, params, backend, gradient, std::nullopt, n);
        return evaluate(x, y, params, backend, gradient, of_rank(x, counts, rank), counts[static_cast<size_t>(rank)]);
      },
      [held](Napi::Env e, const Result& r) -> Napi::Value {
        held->first.Reset();
        held->second.Reset();
        auto out = Napi::Object::New(e);
        out.Set("loss", r.loss);
        out.Set("dgamma", r.dgamma);
        out.Set("dc", r.dc);
        out.Set("dsigma", r.dsigma);
        out.Set("seconds", r.seconds);
        if (r.dx.defined()) {
          const auto dx = r.dx.contiguous();
          auto array = Napi::Float32Array::New(e, static_cast<size_t>(dx.numel()));
          std::memcpy(array.Data(), dx.const_data_ptr<float>(), dx.nbytes());
          out.Set("dx", array);
        }
        return out;
      });
}

}  // namespace

void register_kernel_loss(Napi::Env env, Napi::Object exports) { exports.Set("kernelLoss", Napi::Function::New(env, kernel_loss)); }

}  // namespace kuea
