#include <chrono>
#include <cstring>
#include <map>
#include <memory>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <torch/csrc/autograd/autograd.h>

#include "bind/args.h"
#include "bind/environment.h"
#include "bind/registry.h"
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

/** `range`: [begin, end) of the rows of x that are one rank's; all of them make the whole term. */
Result evaluate(const at::Tensor& x, const at::Tensor& y, const KernelParams& params, Backend backend, bool gradient, std::optional<std::pair<int64_t, int64_t>> range) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  at::AutoGradMode mode(gradient);
  const auto leaf = (range ? x.slice(0, range->first, range->second) : x).detach().requires_grad_(gradient);
  const auto loss = backend(leaf, y, params, range ? std::optional<Gathered>({x, range->first}) : std::nullopt);
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
    if (n < 1 || columns < 1 || static_cast<int64_t>(array.ElementLength()) != n * columns) throw Napi::RangeError::New(env, std::string("expected n rows in ") + key);
    return array;
  };
  auto x = matrix("x", d), y = matrix("y", dt);
  const auto spec = args::object(o, "kernel");
  const auto kind = args::kernel_kind(spec);
  const double gamma = args::number(spec, "gamma"), c = args::number(spec, "c"), sigma = args::number(spec, "sigma"), sigma_teacher = args::number(spec, "sigmaTeacher");
  const bool gradient = args::boolean(o, "gradient");
  std::optional<std::pair<int64_t, int64_t>> range;
  if (o.Get("begin").IsNumber()) {
    range = {args::integer(o, "begin"), args::integer(o, "end")};
    if (range->first < 0 || range->second > n || range->first >= range->second) throw Napi::RangeError::New(env, "expected 0 <= begin < end <= n");
  }
  const auto backend = backends.at(args::string(o, "backend"));
  const auto device = o.Get("device").IsString() ? args::device(o) : at::Device(at::kCPU);
  // The arrays stay where they are: referenced until the promise settles, and not to be written meanwhile.
  auto held = std::make_shared<std::pair<Napi::Reference<Napi::Float32Array>, Napi::Reference<Napi::Float32Array>>>(Napi::Persistent(x), Napi::Persistent(y));
  auto* px = x.Data();
  auto* py = y.Data();
  return Environment::of(env).on_device(
      env,
      [=] {
        const auto scalar = [&](double v) { return at::full({}, v, at::TensorOptions().dtype(at::kFloat).device(device)).requires_grad_(gradient); };
        const auto matrix = [&](float* data, int64_t columns) { return at::from_blob(data, {n, columns}, at::kFloat).to(device); };
        const KernelParams params{kind, scalar(gamma), scalar(c), scalar(sigma), sigma_teacher};
        return evaluate(matrix(px, d), matrix(py, dt), params, backend, gradient, range);
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
