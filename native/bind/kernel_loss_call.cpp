#include "bind/kernel_loss_call.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "bind/args.h"

namespace kuea {

KernelLossCall::KernelLossCall(const Napi::Object& o)
    : n(args::integer(o, "n")),
      d(args::integer(o, "d")),
      dt(args::integer(o, "dt")),
      kernel(args::kernel_spec(args::object(o, "kernel"))),
      gradient(args::boolean(o, "gradient")) {
  const auto matrix = [&](const char* key, int64_t columns) {
    auto array = args::typed_array<float>(o, key);
    if (n < 1 || columns < 1 || static_cast<int64_t>(array.ElementLength()) != n * columns)
      throw Napi::RangeError::New(o.Env(), std::string("expected n rows in ") + key);
    return array.Data();
  };
  x = matrix("x", d);
  y = matrix("y", dt);
  if (!o.Get("counts").IsTypedArray()) return;
  counts = args::ints(o, "counts");
  rank = args::integer(o, "rank");
  const bool negative = std::any_of(counts.begin(), counts.end(), [](int64_t count) { return count < 0; });
  if (negative || std::accumulate(counts.begin(), counts.end(), int64_t{0}) != n)
    throw Napi::RangeError::New(o.Env(), "expected counts of n rows in all");
  if (rank < 0 || rank >= static_cast<int64_t>(counts.size())) throw Napi::RangeError::New(o.Env(), "expected 0 <= rank < counts.length");
}

std::optional<Gathered> KernelLossCall::part(const at::Tensor& all) const {
  if (counts.empty()) return std::nullopt;
  return Gathered{all, std::accumulate(counts.begin(), counts.begin() + rank, int64_t{0}), rank, static_cast<int64_t>(counts.size()), {}};
}

Napi::Object kernel_loss_result(Napi::Env env, const KernelLoss& r) {
  auto out = Napi::Object::New(env);
  out.Set("loss", r.loss);
  out.Set("dgamma", r.dgamma);
  out.Set("dc", r.dc);
  out.Set("dsigma", r.dsigma);
  out.Set("seconds", r.seconds);
  if (r.dx.defined()) {
    const auto dx = r.dx.contiguous();
    auto array = Napi::Float32Array::New(env, static_cast<size_t>(dx.numel()));
    std::memcpy(array.Data(), dx.const_data_ptr<float>(), dx.nbytes());
    out.Set("dx", array);
  }
  return out;
}

}  // namespace kuea
