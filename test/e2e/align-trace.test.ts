import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { type AlignLine, type AlignOptions, align } from '../../lib/index.js';
import { agree, common, golden } from './traces.js';

describe('a training run', () => {
  let work: string;
  let runs = 0;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-trace-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  async function trace(options: Partial<AlignOptions>): Promise<AlignLine[]> {
    const run = align({ ...common, out: join(work, `run-${runs++}`), ...options });
    const lines: AlignLine[] = [];
    for await (const event of run) if (event.type === 'step') lines.push(event);
    return lines;
  }

  for (const { name, options, trace: expected } of golden.runs) {
    it(`${name}: has the losses of eager PyTorch in float64`, async () => {
      agree(await trace(options), expected, 1e-3, options.kernel);
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
