import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { type AlignLine, type AlignOptions, align } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';

type Numbers = Pick<AlignLine, 'loss' | 'kernel_loss' | 'anchor_loss' | 'cosine_to_original' | 'gamma' | 'c' | 'sigma'>;

const root = packageRoot();
const golden = JSON.parse(readFileSync(join(root, 'test/golden/align/traces.json'), 'utf8')) as {
  batch: number;
  steps: number;
  runs: { name: string; options: Partial<AlignOptions>; trace: Numbers[] }[];
};

describe('a training run', () => {
  let work: string;
  let runs = 0;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-trace-'))));
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
      ...options,
    });
    const lines: AlignLine[] = [];
    for await (const event of run) if (event.type === 'step') lines.push(event);
    return lines;
  }

  function agree(found: AlignLine[], expected: Numbers[], tolerance: number): void {
    expect(found).to.have.length(expected.length);
    expected.forEach((line, i) => {
      for (const [key, value] of Object.entries(line) as [keyof Numbers, number][]) {
        // The anchor starts at 0 and is then a small difference of large numbers.
        const size = Math.max(Math.abs(value), key === 'anchor_loss' ? 1e-3 : 0);
        expect(found[i]![key], `${key} of step ${i + 1}`).to.be.closeTo(value, tolerance * size);
      }
    });
  }

  for (const { name, options, trace: expected } of golden.runs) {
    it(`${name}: has the losses of eager PyTorch in float64`, async () => {
      agree(await trace(options), expected, 1e-3);
    });
  }

  const [published] = golden.runs;

  it('has them with micro-batches, with activation checkpointing and with the plain loss', async () => {
    agree(await trace({ ...published!.options, microBatch: 4 }), published!.trace, 1e-3);
    agree(await trace({ ...published!.options, activationCheckpointing: true }), published!.trace, 1e-3);
    agree(await trace({ ...published!.options, lossBackend: 'plain' }), published!.trace, 1e-3);
  });

  it('has the same bits with a cache, from a cache, and without', async () => {
    const cache = join(work, 'shared-cache');
    const [first, second, without] = [
      await trace({ ...published!.options, cache }),
      await trace({ ...published!.options, cache }),
      await trace({ ...published!.options, cache: 'off' }),
    ];
    const losses = (lines: AlignLine[]) => lines.map(({ loss, kernel_loss }) => [loss, kernel_loss]);
    expect(losses(second!)).to.deep.equal(losses(first!));
    expect(losses(without!)).to.deep.equal(losses(first!));
  });

  it('starts at an anchor of exactly 0, in bf16 too, whose losses stay near', async () => {
    const lines = await trace({ ...published!.options, precision: 'bf16' });
    expect(lines[0]!.anchor_loss).to.equal(0);
    lines.forEach(({ kernel_loss }, i) =>
      expect(kernel_loss).to.be.closeTo(published!.trace[i]!.kernel_loss, 0.05 * published!.trace[i]!.kernel_loss),
    );
  });
});
