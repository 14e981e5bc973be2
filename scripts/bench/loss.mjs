/**
 * npm run -s bench:loss -- --n 8192 --d 768 --dt 1024 [--input FILE] [--backend fused|plain|chunked] [--threads N] [--ranks R]
 *
 * Value and gradients of the kernel term. Prints one JSON line {n, seconds, extra_mb, loss, grad_norm, dgamma, dc}: seconds is the median of three,
 * extra_mb what the peak of resident memory rose by over the inputs. --input takes x [n, d] and y [n, dt] from a .safetensors file. With --ranks it is the part
 * of the first of R ranks that is computed: loss, gradients and their norm are then those of its rows.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { loadAddon } from '../../dist/lib/native/load.js';
import { readSafetensors } from '../../dist/lib/weights/safetensors.js';

const { values } = parseArgs({
  options: {
    n: { type: 'string', default: '8192' },
    d: { type: 'string', default: '768' },
    dt: { type: 'string', default: '1024' },
    input: { type: 'string' },
    backend: { type: 'string', default: 'fused' },
    threads: { type: 'string' },
    ranks: { type: 'string', default: '1' },
  },
});

const peakMb = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;

/** Seeded normal numbers (mulberry32 and Box-Muller). */
function normal(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Rows around a common mean, as embeddings are. */
function rows(count, width, spread, offset, next) {
  const mean = Float32Array.from({ length: width }, () => next() * offset);
  return Float32Array.from({ length: count * width }, (_, i) => next() * spread + mean[i % width]);
}

async function tensor(file, name) {
  const { tensors } = await readSafetensors(file);
  const { offset, shape } = tensors.get(name);
  const bytes = readFileSync(file).subarray(offset, offset + 4 * shape[0] * shape[1]);
  return { data: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)), shape };
}

let n = Number(values.n);
let d = Number(values.d);
let dt = Number(values.dt);
let x;
let y;
if (values.input) {
  ({ data: x, shape: [n, d] } = await tensor(values.input, 'x'));
  ({ data: y, shape: [n, dt] } = await tensor(values.input, 'y'));
} else {
  const next = normal(n);
  x = rows(n, d, 0.4, 0.3, next);
  y = rows(n, dt, 1.5, 1, next);
}

const addon = loadAddon();
if (values.threads) await addon.setThreads(Number(values.threads));
const kernel = { kind: 'polynomial', gamma: 0.0032, c: 0.191623, sigma: 1, sigmaTeacher: 1 };
const run = (count) => addon.kernelLoss({ x: x.subarray(0, count * d), y: y.subarray(0, count * dt), n: count, d, dt, kernel, backend: values.backend, gradient: true, begin: 0, end: Math.ceil(count / Number(values.ranks)) });
// Threads, code and BLAS buffers come into memory once.
await run(Math.min(n, 64));
const base = peakMb();
const seconds = [];
let result;
for (let i = 0; i < 3; i++) {
  result = await run(n);
  seconds.push(result.seconds);
}
const gradNorm = Math.sqrt(result.dx.reduce((sum, v) => sum + v * v, 0));
console.log(JSON.stringify({ n, d, dt, seconds: seconds.sort((a, b) => a - b)[1], extra_mb: peakMb() - base, loss: result.loss, grad_norm: gradNorm, dgamma: result.dgamma, dc: result.dc }));
