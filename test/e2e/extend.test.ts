import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { type AlignOptions, align, type KueaError } from '../../lib/index.js';
import { common } from './traces.js';

describe('a finished run', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-extend-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  async function run(out: string, more: Partial<AlignOptions>): Promise<{ warnings: string[]; rates: number[]; weights: Buffer }> {
    const [warnings, rates]: [string[], number[]] = [[], []];
    const started = align({ ...common, out: join(work, out), lr: 1e-4, exportLayouts: ['visual'], ...more });
    for await (const event of started) {
      if (event.type === 'warning') warnings.push(event.message);
      if (event.type === 'step') rates.push(event.lr);
    }
    return { warnings, rates, weights: readFileSync((await started.result).exports[0]!.path) };
  }
  const failure = (more: Partial<AlignOptions>) => run('short', more).catch((error: KueaError) => error) as Promise<KueaError>;

  it('is lengthened to the bits of one that was as long from the start, where the rate is constant', async () => {
    const whole = await run('whole', { steps: 6 });
    await run('short', { steps: 3 });
    const { warnings, weights, rates } = await run('short', { steps: 6, extend: true });
    expect(rates).to.have.length(3);
    expect(warnings.join()).to.match(/lengthened to 6 updates: .* from update 4 on \(0\.000100 now, 0\.000100 at the last\)/);
    expect(weights.equals(whole.weights)).to.equal(true);
    // It is that long from now on.
    expect((await run('short', { steps: 6, resume: true })).rates).to.deep.equal([]);
  });

  it('is not lengthened by accident, nor shortened', async () => {
    expect(await failure({ steps: 9, resume: true })).to.have.property('code', 'resume_mismatch');
    expect((await failure({ steps: 9, resume: true })).message).to.include('steps (6 then, 9 now); --extend lengthens a run');
    expect((await failure({ steps: 6, extend: true })).message).to.match(/expected more updates than the 6 that the run in .* has made/);
    expect((await failure({ steps: 9, extend: true, w: 3 })).message).to.match(/found others: w \(0.5 then, 3 now\)$/);
    expect((await run('short', { steps: 6, resume: true })).rates).to.deep.equal([]);
  });

  it('follows the longer schedule from where it is', async () => {
    await run('cosine', { steps: 4, scheduler: 'cosine' });
    const { rates } = await run('cosine', { steps: 8, scheduler: 'cosine', extend: true });
    const half = (step: number) => 0.5 * (1 + Math.cos((Math.PI * step) / 8)) * 1e-4;
    rates.forEach((rate, i) => expect(rate).to.be.closeTo(half(4 + i), 1e-12));
  });
});
