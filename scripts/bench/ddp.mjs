/**
 * node scripts/bench/ddp.mjs [--ranks 2] [--batch 8] [--steps 4] [--precision bf16]
 *
 * What several ranks cost: steps of a ViT-B/16 (random weights, frozen embeddings in a cache), `batch` images a rank, one core a rank.
 * Three runs: one process alone; `ranks` processes at once that know nothing of each other; and `ranks` ranks. Prints one JSON line:
 * medians over the steps but the first of seconds a step, of the share spent in exchanges and of that spent waiting for gradients after the
 * last one was computed; and the images a second of a rank against those of the process alone, and against those of the processes apart,
 * which share the machine's caches and memory too.
 */
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { crc32 } from 'node:zlib';
import { openCache } from '../../dist/lib/embed/cache.js';
import { visionPairs } from '../../dist/lib/models/clip/keys.js';
import { loadAddon } from '../../dist/lib/native/load.js';
import { onCores, onThisMachine } from './processes.mjs';

const { values } = parseArgs({
  options: {
    ranks: { type: 'string', default: '2' },
    batch: { type: 'string', default: '8' },
    steps: { type: 'string', default: '4' },
    precision: { type: 'string', default: 'bf16' },
    worker: { type: 'string' },
  },
});
const [ranks, batch, steps] = [values.ranks, values.batch, values.steps].map(Number);
const arch = {
  family: 'clip',
  width: 768,
  layers: 12,
  heads: 12,
  mlpWidth: 3072,
  patchSize: 16,
  imageSize: 224,
  embedDim: 512,
  activation: 'quick_gelu',
};
const teacherDim = 1024;

/** One process: `rank` of `worldSize`, or alone. */
async function work({ folder, rank, worldSize, port }) {
  const addon = loadAddon();
  await addon.setThreads(1);
  const group = worldSize > 1 ? await addon.openProcessGroup(onThisMachine(rank, worldSize, port)) : null;
  const file = join(folder, 'weights.bin');
  const weights = visionPairs(arch).map(({ name: parameter, shape }) => ({ parameter, source: { file, offset: 0, dtype: 'F32', shape } }));
  const trainer = await addon.openTrainer({
    student: { arch, weights, mean: [0.48, 0.46, 0.41], std: [0.27, 0.26, 0.28] },
    teacher: null,
    teacherDim,
    teacherSize: 224,
    kernel: { kind: 'polynomial', gamma: 0.0032, c: 0.19, sigma: 1, sigmaTeacher: 1 },
    trainKernel: true,
    w: 0.5,
    lossBackend: 'fused',
    precision: values.precision,
    device: 'cpu',
    optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 1e-4 },
    maxGradNorm: 0,
    batchSize: batch,
    microBatch: batch,
    activationCheckpointing: false,
    slots: 1,
    distributed: group !== null,
    kernelScope: 'global',
  });
  await trainer.openCache(JSON.parse(readFileSync(join(folder, 'cache.json'), 'utf8')));
  const slot = trainer.slots[0];
  for (let i = 0; i < slot.length; i++) slot[i] = (i * (7 + rank)) & 255;
  const lines = [];
  for (let step = 0; step <= steps; step++) {
    const { seconds, exchangeSeconds, reduceSeconds } = await trainer.step({
      slot: 0,
      count: batch,
      rows: Uint32Array.from({ length: batch }, (_, i) => i),
      lr: 1e-6,
      log: true,
    });
    lines.push({ seconds, exchangeSeconds, reduceSeconds });
  }
  await trainer.close();
  await group?.close();
  // The first step allocates, and teaches the reducer the order of the gradients.
  console.log(JSON.stringify(lines.slice(1)));
}

const start = (count, place) =>
  onCores(count, fileURLToPath(import.meta.url), (core, port) => [
    '--worker',
    JSON.stringify(place(core, port)),
    '--batch',
    values.batch,
    '--steps',
    values.steps,
    '--precision',
    values.precision,
  ]);

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

function summary(processes) {
  const lines = processes.flat();
  const seconds = median(lines.map((line) => line.seconds));
  const share = (key) => median(lines.map((line) => line[key] / line.seconds));
  return {
    seconds,
    images_per_second_of_a_rank: batch / seconds,
    exchange_share: share('exchangeSeconds'),
    reduce_share: share('reduceSeconds'),
  };
}

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'kuea-ddp-'));
  try {
    const noise = Float32Array.from({ length: 4 * 768 * 768 }, () => (Math.random() - 0.5) * 0.07);
    writeFileSync(join(folder, 'weights.bin'), noise);
    const key = { student: '', teacher: '', preprocessing: '', data: '', precision: '' };
    const { spec } = await openCache(join(folder, 'cache'), key, batch, [arch.embedDim, teacherDim]);
    const cache = openSync(spec.file, 'r+');
    writeSync(cache, noise, 0, 4 * batch * arch.embedDim, spec.original);
    writeSync(cache, noise, 0, 4 * batch * teacherDim, spec.teacher);
    const row = (width, i) => new Uint8Array(noise.buffer, 4 * width * i, 4 * width);
    const checksums = Uint32Array.from({ length: batch }, (_, i) => crc32(row(teacherDim, i), crc32(row(arch.embedDim, i))));
    writeSync(cache, new Uint8Array(checksums.buffer), 0, 4 * batch, spec.checksums);
    writeFileSync(join(folder, 'cache.json'), JSON.stringify(spec));

    const alone = summary(await start(1, () => ({ folder, rank: 0, worldSize: 1 })));
    const apart = summary(await start(ranks, () => ({ folder, rank: 0, worldSize: 1 })));
    const together = summary(await start(ranks, (rank, port) => ({ folder, rank, worldSize: ranks, port })));
    const against = (other) => together.images_per_second_of_a_rank / other.images_per_second_of_a_rank;
    console.log(
      JSON.stringify({
        model: 'ViT-B/16',
        precision: values.precision,
        batch_of_a_rank: batch,
        ranks,
        alone,
        apart,
        together,
        efficiency: { against_alone: against(alone), against_apart: against(apart) },
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await (values.worker ? work(JSON.parse(values.worker)) : main());
