/**
 * Images a second from files to uint8 [3, size, size] in batches, through the loader that training uses. Prints one JSON line; the first
 * epoch warms up, `images_per_second` is over the others.
 *
 *   node scripts/bench/decode.mjs FOLDER [--workers N] [--mode exact|fast] [--size 224] [--batch 64] [--epochs 3]
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    workers: { type: 'string', default: '2' },
    mode: { type: 'string', default: 'exact' },
    size: { type: 'string', default: '224' },
    batch: { type: 'string', default: '64' },
    epochs: { type: 'string', default: '3' },
  },
});

// The libuv pool reads its size once, before this file runs.
if (process.env.UV_THREADPOOL_SIZE !== values.workers) {
  const env = { ...process.env, UV_THREADPOOL_SIZE: values.workers };
  const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { env, stdio: 'inherit' });
  process.exit(status ?? 1);
}

const { openSource } = await import('../../dist/lib/data/images/sources.js');
const { Loader } = await import('../../dist/lib/data/images/loader.js');
const { Sampler } = await import('../../dist/lib/data/images/sampler.js');

const [size, batchSize, epochs] = [Number(values.size), Number(values.batch), Number(values.epochs)];
const source = await openSource(positionals[0]);
const sampler = new Sampler({ length: source.length, batchSize, seed: 0, shuffle: true, dropLast: false });
const slots = Array.from({ length: 3 }, () => new Uint8Array(batchSize * 3 * size * size));
const loader = new Loader({
  source,
  sampler,
  slots,
  preprocessing: { resize: size, crop: size, mode: values.mode },
  startStep: 0,
  endStep: epochs * sampler.stepsPerEpoch,
  maxSkipped: source.length,
});

const first = epochs > 1 ? 1 : 0;
let images = 0;
let start = performance.now();
let cpu = process.cpuUsage();
for await (const batch of loader) {
  if (batch.epoch >= first) images += batch.count;
  const last = (batch.step + 1) % sampler.stepsPerEpoch === 0;
  if (last && batch.epoch < first) [start, cpu] = [performance.now(), process.cpuUsage()];
  loader.release(batch.slot);
}
const seconds = (performance.now() - start) / 1e3;
const { user, system } = process.cpuUsage(cpu);
console.log(
  JSON.stringify({
    mode: values.mode,
    size,
    workers: Number(values.workers),
    images,
    seconds,
    images_per_second: images / seconds,
    cpu_ms_per_image: (user + system) / 1e3 / images,
    skipped: loader.skippedCount,
  }),
);
