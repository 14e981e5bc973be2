/**
 * node scripts/bench/lora-7b.mjs [--layers 2] [--tokens 2048] [--updates 2] [--base nf4] [--rank 128] [--no-checkpointing]
 *
 * Memory and time of LoRA training at LLaVA-1.5-7B's shape, without its weights: every tensor of the load plan is the same few random
 * numbers of one file. One sample an update, an image of 576 tokens and text, a quarter of it learnt, dropout 0.05, the projector trained.
 * Prints one JSON line.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { visionPairs } from '../../dist/lib/models/clip/keys.js';
import { languagePairs, projectorPairs } from '../../dist/lib/models/llava/keys.js';
import { usualTower as vision } from '../../dist/lib/models/llava/shape.js';
import { loadAddon } from '../../dist/lib/native/load.js';

const { values } = parseArgs({
  allowNegative: true,
  options: {
    layers: { type: 'string', default: '2' },
    tokens: { type: 'string', default: '2048' },
    updates: { type: 'string', default: '2' },
    base: { type: 'string', default: 'nf4' },
    rank: { type: 'string', default: '128' },
    checkpointing: { type: 'boolean', default: true },
  },
});
const llama = {
  family: 'llama',
  width: 4096,
  layers: Number(values.layers),
  heads: 32,
  mlpWidth: 11008,
  vocabulary: 32000,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
};
const pairs = [
  ...languagePairs(llama, 'original'),
  ...projectorPairs(vision.width, llama.width, 'original'),
  ...visionPairs({ ...vision, layers: vision.layers - 1 })
    .filter(({ name }) => !/^(proj$|ln_post)/.test(name))
    .map((pair) => ({ ...pair, name: `vision.${pair.name}` })),
];
const size = (shape) => shape.reduce((product, side) => product * side, 1);

const work = mkdtempSync(join(tmpdir(), 'kuea-bench-'));
const file = join(work, 'numbers');
try {
  // bf16 uniform in +-0.035, of a standard deviation of 0.02; then a 1, which all norms' weights are.
  const count = Math.max(...pairs.map(({ shape }) => size(shape)));
  const numbers = new Uint16Array(count + 1);
  const half = new Float32Array(1);
  const bits = new Uint32Array(half.buffer);
  for (let i = 0, state = 1; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    half[0] = (state / 2 ** 31 - 1) * 0.035;
    numbers[i] = bits[0] >>> 16;
  }
  numbers[count] = 0x3f80;
  writeFileSync(file, numbers);
  const weights = pairs.map(({ name, shape }) => {
    const norm = /(norm|ln_\w+)\.weight$/.test(name);
    return { parameter: name, source: { file, offset: norm ? 2 * count : 0, dtype: 'BF16', shape, ...(norm ? { strides: [0] } : {}) } };
  });

  let start = performance.now();
  const trainer = await loadAddon().openLoraTrainer({
    model: {
      vision,
      mean: [0.5, 0.5, 0.5],
      std: [0.3, 0.3, 0.3],
      feature: 'hidden',
      llama,
      weights,
      basePrecision: values.base,
      precision: 'bf16',
      device: 'cpu',
      lora: { rank: Number(values.rank), alpha: 256, weights: null, seed: 0 },
    },
    dropout: 0.05,
    seed: 0,
    trainProjector: true,
    optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
    maxGradNorm: 1,
    gradientCheckpointing: values.checkpointing,
    offload: false,
    slots: 3,
    imagesPerSlot: 1,
    pixels: 'u8',
    distributed: false,
  });
  const loading = (performance.now() - start) / 1000;
  const loaded = process.memoryUsage.rss() / 2 ** 20;
  const length = Number(values.tokens);
  const patches = 576;
  const tokens = Int32Array.from({ length }, (_, i) => (i >= 35 && i < 35 + patches ? -200 : (i * 7919) % 32000));
  const labels = tokens.map((id, i) => (i >= 0.75 * length && id >= 0 ? id : -100));
  const updates = [];
  for (let i = 0; i < Number(values.updates); i++) {
    start = performance.now();
    trainer.slots[0].forEach((_, k, slot) => {
      slot[k] = (k * 31) & 255;
    });
    await trainer.accumulate({
      slot: 0,
      images: 1,
      tokens,
      labels,
      lengths: Int32Array.of(length),
      imageRows: Int32Array.from({ length: patches }, (_, k) => k),
      weights: Float32Array.of(1 / labels.filter((l) => l >= 0).length),
      sampleKeys: Uint32Array.of(i),
      denominator: 1,
    });
    const { loss, gradNorm } = await trainer.update({ lr: 2e-4, projectorLr: 2e-5, log: true });
    updates.push({ loss, gradNorm, seconds: (performance.now() - start) / 1000 });
  }
  const trained = trainer.parameters.reduce((sum, { shape }) => sum + size(shape), 0);
  await trainer.close();
  console.log(
    JSON.stringify({
      layers: llama.layers,
      tokens: length,
      trained,
      load_seconds: loading,
      loaded_rss_mb: loaded,
      peak_rss_mb: process.resourceUsage().maxRSS / 1024,
      updates,
    }),
  );
} finally {
  rmSync(work, { recursive: true, force: true });
}
