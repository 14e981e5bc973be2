import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { type AlignLine, type AlignOptions, align, openEncoder } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';
import { describeOnGpu } from './support.js';

const root = packageRoot();
const golden = JSON.parse(readFileSync(join(root, 'test/golden/align/traces.json'), 'utf8')) as {
  batch: number;
  steps: number;
  runs: { name: string; options: Partial<AlignOptions>; trace: { loss: number; kernel_loss: number; gamma: number; c: number }[] }[];
};

describeOnGpu('training on a GPU', () => {
  let work: string;
  let runs = 0;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-cuda-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  async function trace(options: Partial<AlignOptions>): Promise<AlignLine[]> {
    const run = align({
      student: join(root, 'configs/demo/clip'),
      teacher: join(root, 'configs/demo/dinov2'),
      data: join(root, 'test/golden/align/pixels.safetensors'),
      out: join(work, `run-${runs++}`),
      batchSize: golden.batch,
      steps: golden.steps,
      shuffle: false,
      scheduler: 'constant',
      logEvery: 1,
      device: 'cuda',
      ...options,
    });
    const lines: AlignLine[] = [];
    for await (const event of run) if (event.type === 'step') lines.push(event);
    return lines;
  }

  function agree(found: AlignLine[], expected: (typeof golden.runs)[number]['trace']): void {
    expect(found).to.have.length(expected.length);
    expected.forEach((line, i) => {
      for (const key of ['loss', 'kernel_loss', 'gamma', 'c'] as const)
        expect(found[i]![key], `${key} of step ${i + 1}`).to.be.closeTo(line[key], 1e-3 * Math.abs(line[key]));
    });
  }

  for (const { name, options, trace: expected } of golden.runs) {
    it(`${name}: has the losses of eager PyTorch in float64`, async () => agree(await trace(options), expected));
  }

  const [published] = golden.runs;

  it('has them with micro-batches, with activation checkpointing, with the plain loss, and with a cache that is full', async () => {
    const cache = join(work, 'cache');
    for (const change of [{ microBatch: 4 }, { activationCheckpointing: true }, { lossBackend: 'plain' as const }, { cache }, { cache }])
      agree(await trace({ ...published!.options, ...change }), published!.trace);
  });

  it('has them when it logs, and so waits for the GPU, at the ends alone', async () => {
    const lines = await trace({ ...published!.options, logEvery: golden.steps });
    const last = golden.steps - 1;
    expect(lines.at(-1)!.loss).to.be.closeTo(published!.trace[last]!.loss, 1e-3 * published!.trace[last]!.loss);
  });

  it('reports a loss that is not finite at the next step that logs, and names the step that had it', async () => {
    const error = await trace({ ...published!.options, lr: 1e30, logEvery: 4 }).catch((e: unknown) => e as Error);
    expect(error).to.have.property('code', 'non_finite');
    expect((error as Error).message).to.match(/^step 4: the loss of step [23] is -?(nan|inf)/);
  });

  it('embeds as the CPU does, in fp32 and in bf16', async () => {
    const image = readFileSync(join(root, 'test/golden/pixels/inputs/jpeg-420.jpg'));
    for (const precision of ['fp32', 'bf16'] as const) {
      const [cpu, gpu] = await Promise.all(
        (['cpu', 'cuda'] as const).map(async (device) => {
          await using encoder = await openEncoder(join(root, 'configs/demo/clip'), { device, precision });
          return encoder.encodeImages([image, image]);
        }),
      );
      const size = Math.max(...cpu!.map(Math.abs));
      cpu!.forEach((value, i) => expect(gpu![i]).to.be.closeTo(value, (precision === 'fp32' ? 1e-4 : 5e-2) * size));
    }
  });
});
