#include "nn/llama_layer.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace kuea {
namespace {

enum Map { q_map, k_map, v_map, o_map, gate_map, up_map, down_map };

at::Tensor chosen(const at::Tensor& x, const at::Tensor& rows) { return rows.defined() ? x.index_select(0, rows) : x; }

/** The transpose of chosen(): rows of g where they came from in [tokens, width], 0 elsewhere. */
at::Tensor spread(const at::Tensor& g, const at::Tensor& rows, int64_t tokens) {
  if (!rows.defined()) return g;
  return at::zeros({tokens, g.size(1)}, g.options()).index_copy_(0, rows, g);
}

/** Dropout's keys follow the tokens that are left. */
Dropout chosen(const Dropout& mask, const at::Tensor& rows) {
  return {mask.probability, mask.keys.defined() ? chosen(mask.keys, rows) : mask.keys};
}

}  // namespace

void KeyValueCache::append(const at::Tensor& keys, const at::Tensor& values) {
  const auto end = length + keys.size(0);
  if (!k.defined() || end > k.size(0)) {
    const auto grown = [&](const at::Tensor& old) {
      auto larger = at::empty({std::max<int64_t>(2 * end, 256), keys.size(1)}, keys.options());
      if (old.defined()) larger.narrow(0, 0, length).copy_(old.narrow(0, 0, length));
      return larger;
    };
    k = grown(k);
    v = grown(v);
  }
  k.narrow(0, length, keys.size(0)).copy_(keys);
  v.narrow(0, length, keys.size(0)).copy_(values);
  length = end;
}

at::Tensor LlamaLayer::feed_forward(at::Tensor middle, const Sequence& sequence, LlamaLayerState* state) const {
  const auto h = [&](Map map) { return state == nullptr ? nullptr : &state->h[map]; };
  const auto& mask = sequence.dropout;
  const auto normed = rms_norm(middle, post_attention_norm_, eps_, state == nullptr ? nullptr : &state->rstd2);
  const auto gate = maps_.gate.forward(normed, mask, h(gate_map)), up = maps_.up.forward(normed, mask, h(up_map));
  auto y = maps_.down.forward(swiglu(gate, up), mask, h(down_map)).add_(middle);
  if (state != nullptr) {
    state->middle = middle;
    state->gate = gate;
    state->up = up;
  }
  return y;
}

at::Tensor LlamaLayer::forward(const at::Tensor& x, const Sequence& sequence, const at::Tensor& rows, LlamaLayerState* state) const {
  const auto h = [&](Map map) { return state == nullptr ? nullptr : &state->h[map]; };
  const auto& mask = sequence.dropout;
  at::Tensor rstd;
  const auto normed = rms_norm(x, input_norm_, eps_, &rstd);
  auto q = maps_.q.forward(normed, mask, h(q_map)), k = maps_.k.forward(normed, mask, h(k_map));
  const auto v = maps_.v.forward(normed, mask, h(v_map));
  rope_(q, sequence.rotary);
  rope_(k, sequence.rotary);
  auto attention = causal_attention(q, k, v, heads_, sequence.lengths);
  const Sequence left{{}, {}, chosen(mask, rows)};
  auto middle = maps_.o.forward(chosen(attention.out, rows), left.dropout, h(o_map)).add_(chosen(x, rows));
  if (state != nullptr) {
    state->x = x;
    state->rstd1 = rstd;
    state->q = q;
    state->k = k;
    state->v = v;
    state->attention = std::move(attention);
  }
  return feed_forward(middle, left, state);
}

at::Tensor LlamaLayer::backward(at::Tensor g, const Sequence& sequence, const at::Tensor& rows, LlamaLayerState& state,
                                bool through) const {
  const auto& mask = sequence.dropout;
  const auto left = chosen(mask, rows);
  // g is the residual's gradient all the way down; each branch adds its own to it. What one pass over memory gives is made again, not kept.
  at::Tensor d_act, d_normed, d_out;
  maps_.down.backward(g, swiglu(state.gate, state.up), state.h[down_map], left, &d_act);
  swiglu_backward_(d_act, state.gate, state.up);
  d_act.reset();
  const auto normed2 = rms_norm(state.middle, post_attention_norm_, eps_);
  maps_.gate.backward(state.gate, normed2, state.h[gate_map], left, &d_normed);
  maps_.up.backward(state.up, normed2, state.h[up_map], left, &d_normed);
  rms_norm_backward(state.middle, post_attention_norm_, state.rstd2, d_normed, g);
  state.gate.reset();
  state.up.reset();

  maps_.o.backward(g, chosen(state.attention.out, rows), state.h[o_map], left, &d_out);
  const auto tokens = state.x.size(0);
  auto [dq, dk, dv] =
      causal_attention_backward(spread(d_out, rows, tokens), state.q, state.k, state.v, heads_, sequence.lengths, state.attention);
  rope_(dq, sequence.rotary, true);
  rope_(dk, sequence.rotary, true);
  d_normed.reset();
  auto* dx = through ? &d_normed : nullptr;
  const auto normed1 = rms_norm(state.x, input_norm_, eps_);
  maps_.q.backward(dq, normed1, state.h[q_map], mask, dx);
  maps_.k.backward(dk, normed1, state.h[k_map], mask, dx);
  maps_.v.backward(dv, normed1, state.h[v_map], mask, dx);
  if (!through) return {};
  g = spread(g, rows, tokens);
  rms_norm_backward(state.x, input_norm_, state.rstd1, d_normed, g);
  return g;
}

at::Tensor LlamaLayer::generate(const at::Tensor& x, const Sequence& sequence, const at::Tensor& rows, KeyValueCache& cache) const {
  const auto normed = rms_norm(x, input_norm_, eps_);
  auto q = maps_.q.forward(normed, {}), k = maps_.k.forward(normed, {});
  rope_(q, sequence.rotary);
  rope_(k, sequence.rotary);
  cache.append(k, maps_.v.forward(normed, {}));
  const auto by_head = [&](const at::Tensor& t) { return t.view({1, t.size(0), heads_, t.size(1) / heads_}).transpose(1, 2); };
  const auto seen = [&](const at::Tensor& t) { return by_head(t.narrow(0, 0, cache.length)); };
  // Several tokens at once are a sequence's start: they and the cache's are the same.
  const auto out = at::scaled_dot_product_attention(by_head(q), seen(cache.k), seen(cache.v), {}, 0.0, x.size(0) > 1);
  const auto middle = maps_.o.forward(chosen(out.transpose(1, 2).reshape(x.sizes()), rows), {}).add_(chosen(x, rows));
  return feed_forward(middle, {}, nullptr);
}

}  // namespace kuea
