/**
 * node scripts/bench/lora.mjs --peer DIR [--precision bf16] [--base bf16] [--checkpointing] [--repeat 1] [--dropout 0] [--profile]
 *
 * LoRA training of LLaVA against transformers + peft. DIR holds what that loop wrote: model/ and adapter0/, batches.safetensors and
 * trace.json {args: {steps, accum}, trace: [{loss}], tokens_per_second, peak_rss_mb}. Trains on the same weights, tokens and pixels, the
 * trainer alone (no decoding). Prints one JSON line; tokens a second are medians over updates, the first left out; the peak is this
 * process's, Node and libtorch included.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readSafetensors } from '../../dist/lib/files/safetensors.js';
import { openLlava } from '../../dist/lib/models/llava/open.js';
import { loadAddon } from '../../dist/lib/native/load.js';

const { values } = parseArgs({
  options: {
    peer: { type: 'string' },
    precision: { type: 'string', default: 'fp32' },
    base: { type: 'string' },
    checkpointing: { type: 'boolean', default: false },
    repeat: { type: 'string', default: '1' },
    dropout: { type: 'string', default: '0' },
    projector: { type: 'boolean', default: false },
  },
});
const peer = JSON.parse(readFileSync(join(values.peer, 'trace.json'), 'utf8'));
const { steps, accum } = peer.args;
const { model, patches, imageToken, adapter } = await openLlava(join(values.peer, 'model'), { adapter: join(values.peer, 'adapter0') });
const batches = (await readSafetensors(join(values.peer, 'batches.safetensors'))).tensors;

/** Row i of a tensor of the peer's batches, as bytes. */
function row(name, i, itemSize) {
  const { file, offset, shape } = batches.get(name);
  const bytes = shape.slice(1).reduce((product, side) => product * side, itemSize);
  const buffer = Buffer.alloc(bytes);
  const fd = openSync(file);
  readSync(fd, buffer, 0, bytes, offset + i * bytes);
  closeSync(fd);
  return buffer;
}
const ids = (name, i) => Int32Array.from(new BigInt64Array(row(name, i, 8).buffer), Number);

const trainer = await loadAddon().openLoraTrainer({
  model: {
    ...model,
    basePrecision: values.base ?? values.precision,
    precision: values.precision,
    device: 'cpu',
    lora: { rank: adapter.rank, alpha: adapter.alpha, weights: adapter.weights, seed: 0 },
  },
  dropout: Number(values.dropout),
  seed: 0,
  trainProjector: values.projector,
  optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
  maxGradNorm: 0,
  gradientCheckpointing: values.checkpointing,
  offload: false,
  slots: 2,
  imagesPerSlot: 1,
  pixels: 'f32',
  distributed: false,
});

const losses = [];
const rates = [];
for (let step = 0; step < steps * Number(values.repeat); step++) {
  const start = performance.now();
  for (let k = 0; k < accum; k++) {
    const i = (step % steps) * accum + k;
    const tokens = ids('input_ids', i).map((id) => (id === imageToken ? -200 : id));
    const labels = ids('labels', i);
    trainer.slots[i % 2].set(row('pixel_values', i, 4));
    await trainer.accumulate({
      slot: i % 2,
      images: 1,
      tokens,
      labels,
      lengths: Int32Array.of(tokens.length),
      imageRows: Int32Array.from({ length: patches }, (_, j) => j),
      weights: Float32Array.of(1 / labels.filter((label) => label >= 0).length),
      sampleKeys: Uint32Array.of(i),
      denominator: 1,
    });
  }
  const { loss, tokens } = await trainer.update({ lr: peer.args.lr, projectorLr: peer.args.lr, log: true });
  losses.push(loss);
  rates.push((1000 * tokens) / (performance.now() - start));
}
await trainer.close();

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const rate = median(rates.slice(1));
const rss = process.resourceUsage().maxRSS / 1024;
const worst = Math.max(...losses.slice(0, steps).map((loss, i) => Math.abs(loss - peer.trace[i].loss)));
console.log(
  JSON.stringify({
    tokens_per_second: rate,
    peak_rss_mb: rss,
    largest_loss_difference: worst,
    ratios: { speed: rate / peer.tokens_per_second, memory: peer.peak_rss_mb / rss },
    losses,
  }),
);
