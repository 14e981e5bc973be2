/**
 * npm run -s bench:loss -- --n 8192 --d 768 --dt 1024 [--input FILE] [--backend fused|plain] [--threads N] [--ranks R]
 *
 * Value and gradients of the kernel term. Prints one JSON line {n, seconds, extra_mb, loss, grad_norm, dgamma, dc}: seconds is the median
 * of three, extra_mb what the peak of resident memory rose by over the inputs. --input takes x [n, d] and y [n, dt] from a .safetensors
 * file. With --ranks R processes of one core each compute it together: seconds and extra_mb are then the largest of them, exchange
 * included.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readSafetensors } from '../../dist/lib/files/safetensors.js';
import { loadAddon } from '../../dist/lib/native/load.js';
import { onCores, onThisMachine } from './processes.mjs';

const { values } = parseArgs({
  options: {
    n: { type: 'string', default: '8192' },
    d: { type: 'string', default: '768' },
    dt: { type: 'string', default: '1024' },
    input: { type: 'string' },
    backend: { type: 'string', default: 'fused' },
    threads: { type: 'string' },
    ranks: { type: 'string', default: '1' },
    place: { type: 'string' },
  },
});

const memoryMb = (key) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;

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

async function inputs() {
  if (values.input) return Promise.all(['x', 'y'].map((name) => tensor(values.input, name)));
  const [n, d, dt] = [values.n, values.d, values.dt].map(Number);
  const next = normal(n);
  return [
    { data: rows(n, d, 0.4, 0.3, next), shape: [n, d] },
    { data: rows(n, dt, 1.5, 1, next), shape: [n, dt] },
  ];
}

/** This process alone, or as one rank. */
async function measure() {
  const [
    {
      data: x,
      shape: [n, d],
    },
    {
      data: y,
      shape: [, dt],
    },
  ] = await inputs();
  const addon = loadAddon();
  if (values.threads) await addon.setThreads(Number(values.threads));
  const place = values.place ? JSON.parse(values.place) : { rank: 0, worldSize: 1 };
  const group = values.place && (await addon.openProcessGroup(place));
  const kernel = { kind: 'polynomial', gamma: 0.0032, c: 0.191623, sigma: 1, sigmaTeacher: 1 };
  const run = (count) => {
    const counts = Int32Array.from(
      { length: place.worldSize },
      (_, rank) => Math.floor(((rank + 1) * count) / place.worldSize) - Math.floor((rank * count) / place.worldSize),
    );
    return addon.kernelLoss({
      x: x.subarray(0, count * d),
      y: y.subarray(0, count * dt),
      n: count,
      d,
      dt,
      kernel,
      backend: values.backend,
      gradient: true,
      counts,
      rank: place.rank,
    });
  };
  // Threads, code and BLAS buffers come into memory once.
  await run(Math.min(n, 64));
  const base = memoryMb('VmRSS');
  // The peak so far is that of making the inputs: it begins anew.
  writeFileSync('/proc/self/clear_refs', '5');
  const seconds = [];
  let result;
  for (let i = 0; i < 3; i++) {
    result = await run(n);
    seconds.push(result.seconds);
  }
  const extra = memoryMb('VmHWM') - base;
  await group?.close();
  const gradNorm = Math.sqrt(result.dx.reduce((sum, v) => sum + v * v, 0));
  console.log(
    JSON.stringify({
      n,
      d,
      dt,
      seconds: seconds.sort((a, b) => a - b)[1],
      extra_mb: extra,
      loss: result.loss,
      grad_norm: gradNorm,
      dgamma: result.dgamma,
      dc: result.dc,
    }),
  );
}

async function together(ranks) {
  const argsOf = (rank, port) =>
    Object.entries({ ...values, place: JSON.stringify(onThisMachine(rank, ranks, port)) }).flatMap(([key, value]) => [`--${key}`, value]);
  const parts = await onCores(ranks, fileURLToPath(import.meta.url), argsOf);
  const largest = (key) => Math.max(...parts.map((part) => part[key]));
  const sum = (key) => parts.reduce((total, part) => total + part[key], 0);
  const { n, d, dt } = parts[0];
  const norm = Math.hypot(...parts.map(({ grad_norm }) => grad_norm));
  console.log(
    JSON.stringify({
      n,
      d,
      dt,
      ranks,
      seconds: largest('seconds'),
      extra_mb: largest('extra_mb'),
      loss: sum('loss'),
      grad_norm: norm,
      dgamma: sum('dgamma'),
      dc: sum('dc'),
    }),
  );
}

const ranks = Number(values.ranks);
await (ranks > 1 && !values.place ? together(ranks) : measure());
