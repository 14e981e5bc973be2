/**
 * A process that ends while native work runs: `node exiting.js WORK ENDING MILLISECONDS FOLDER`. WORK is what it does without end, from
 * when it prints "busy"; ENDING is what happens that long after. `workers` instead ends MILLISECONDS workers, one after the other, while
 * they compute, and exits with 0 if the process is alive then.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

import { align, openEncoder } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';
import { Trainer } from '../native/llava-support.js';

const root = packageRoot();
const model = join(root, 'configs/demo/clip');

async function forever(step: () => Promise<unknown>): Promise<never> {
  for (;;) await step();
}

const works: Record<string, (busy: () => void, folder: string) => Promise<unknown>> = {
  align: async (busy, folder) => {
    const data = join(root, 'test/golden/align/pixels.safetensors');
    const teacher = join(root, 'configs/demo/dinov2');
    for await (const event of align({ student: model, teacher, data, out: join(folder, 'run'), batchSize: 4, steps: 1e6, device: 'cpu' }))
      if (event.type === 'step') busy();
  },
  lora: async (busy) => {
    const trainer = await Trainer.open({ dropout: 0.1 });
    await forever(() => trainer.update([[0, 1], [2]], { lr: 1e-4, projectorLr: 1e-4 }).then(busy));
  },
  encode: async (busy) => {
    const encoder = await openEncoder(model, { device: 'cpu', precision: 'bf16' });
    const image = readFileSync(join(root, 'test/golden/pixels/inputs/jpeg-420.jpg'));
    const images = Array.from({ length: 16 }, () => image);
    await Promise.all([0, 1].map(() => forever(() => encoder.encodeImages(images).then(busy))));
  },
  open: (busy) =>
    forever(async () => {
      const encoder = await openEncoder(model, { device: 'cpu' });
      busy();
      await encoder.close();
    }),
};

const endings: Record<string, () => void> = {
  exit: () => process.exit(7),
  throw: () => {
    throw new Error('nobody catches this');
  },
  reject: () => void Promise.reject(new Error('nobody catches this')),
  // As kuea-align's own: the first asks it to stop, which takes a while, the second ends it.
  signals: () => {
    let first = true;
    process.on('SIGINT', () => {
      if (!first) process.exit(130);
      first = false;
      process.kill(process.pid, 'SIGINT');
    });
    process.kill(process.pid, 'SIGINT');
  },
};

async function endWorkers(count: number): Promise<void> {
  const kinds = ['encode', 'lora', 'open'];
  for (let i = 0; i < count; i++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { work: kinds[i % kinds.length] }, stdout: true });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    // At another moment of the work each time.
    await new Promise((resolve) => setTimeout(resolve, (i * 7) % 23));
    await worker.terminate();
  }
}

if (!isMainThread) {
  const { parentPort } = await import('node:worker_threads');
  await works[(workerData as { work: string }).work]!(() => parentPort!.postMessage('busy'), '');
} else {
  const [work, ending, milliseconds, folder] = process.argv.slice(2) as [string, string, string, string];
  if (work === 'workers') {
    await endWorkers(Number(milliseconds));
    process.exit(0);
  }
  let begun = false;
  await works[work]!(() => {
    if (begun) return;
    begun = true;
    process.stdout.write('busy\n');
    setTimeout(endings[ending]!, Number(milliseconds));
  }, folder);
}
