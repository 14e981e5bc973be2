#include <map>
#include <memory>
#include <string>
#include <utility>

#include <ATen/ops/from_blob.h>

#include "bind/args.h"
#include "bind/environment.h"
#include "bind/kernel_loss_call.h"
#include "bind/registry.h"
#include "dist/process_group.h"

namespace kuea {
namespace {

const std::map<std::string, KernelAlignment*> backends{{"fused", kernel_alignment}, {"plain", kernel_alignment_plain}};

Napi::Value kernel_loss(const Napi::CallbackInfo& info) {
  const auto o = info[0].As<Napi::Object>();
  const KernelLossCall call(o);
  const auto backend = args::choice(o, "backend", backends);
  const auto device = o.Get("device").IsString() ? args::device(o) : at::Device(at::kCPU);
  // The arrays stay where they are: referenced until the promise settles, and not to be written meanwhile.
  auto held = std::make_shared<std::pair<Napi::Reference<Napi::Value>, Napi::Reference<Napi::Value>>>(Napi::Persistent(o.Get("x")),
                                                                                                      Napi::Persistent(o.Get("y")));
  return Environment::of(info.Env())
      .on_device(
          info.Env(),
          [call, backend, device] {
            const auto matrix = [&](float* data, int64_t columns) { return at::from_blob(data, {call.n, columns}, at::kFloat).to(device); };
            const auto x = matrix(call.x, call.d);
            auto all = call.part(x);
            // Rows alone need no other rank; an exchange needs the process group.
            if (all) all->sum = [](const at::Tensor& t) { ProcessGroup::current()->all_reduce(t); };
            return evaluate_kernel_loss(x, matrix(call.y, call.dt), call.kernel, backend, call.gradient, all, call.rows());
          },
          [held](Napi::Env env, const KernelLoss& result) -> Napi::Value {
            held->first.Reset();
            held->second.Reset();
            return kernel_loss_result(env, result);
          });
}

}  // namespace

void register_kernel_loss(Napi::Env env, Napi::Object exports) { exports.Set("kernelLoss", Napi::Function::New(env, kernel_loss)); }

}  // namespace kuea
