import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { buildHeader } from '../../lib/files/safetensors.js';
import type { NativeTrainer, StepMetrics } from '../../lib/native/addon.js';
import { openAlignTrainer } from './align-support.js';
import { floats } from './llava-support.js';

describe('the align trainer', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-align-trainer-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  async function tensors(trainer: NativeTrainer, state: 'value' | 'exp_avg'): Promise<Map<string, Float32Array>> {
    const file = join(work, 'tensors.safetensors');
    const { parameters } = trainer;
    const header = buildHeader(parameters.map(({ name, shape }) => ({ name, dtype: 'F32', shape })));
    const steps = parameters.map(({ name }) => ({ parameter: name, state }));
    await trainer.write(file, header, steps);
    return floats(file);
  }

  async function step(trainer: NativeTrainer, count = 4): Promise<StepMetrics> {
    const slot = trainer.slots[0]!;
    for (let i = 0; i < slot.length; i++) slot[i] = (i * 7 + ((i * i) >> 7)) & 255;
    return (await trainer.step({ slot: 0, count, rows: new Uint32Array(count), lr: 1e-3, log: true }))!;
  }

  /** In float64, of the gradients that the first moments are a tenth of after one update. */
  async function normOfMoments(trainer: NativeTrainer): Promise<number> {
    let sum = 0;
    for (const moments of (await tensors(trainer, 'exp_avg')).values()) for (const v of moments) sum += (10 * v) ** 2;
    return Math.sqrt(sum);
  }

  it("reports the norm of the gradient of all parameters, the kernel's too", async () => {
    for (const trainKernel of [true, false]) {
      // So large that a norm without the kernel's parameters would be another.
      const trainer = await openAlignTrainer({ w: 1e4, trainKernel });
      const { gradNorm } = await step(trainer);
      expect(gradNorm / (await normOfMoments(trainer))).to.be.closeTo(1, 1e-5);
      const { 'kernel.c': ofKernel } = Object.fromEntries(await tensors(trainer, 'exp_avg'));
      if (trainKernel) expect(Math.abs(10 * ofKernel![0]!) / gradNorm).to.be.greaterThan(1e-3);
      await trainer.close();
    }
  });

  it("clips it as torch's clip_grad_norm_ does, and reports what it was before", async () => {
    const free = await openAlignTrainer();
    const { gradNorm: whole } = await step(free);
    for (const maxGradNorm of [whole / 3, 2 * whole]) {
      const trainer = await openAlignTrainer({ maxGradNorm });
      expect((await step(trainer)).gradNorm).to.equal(whole);
      const expected = whole * Math.min(1, maxGradNorm / (whole + 1e-6));
      expect((await normOfMoments(trainer)) / expected).to.be.closeTo(1, 1e-5);
      await trainer.close();
    }
    await free.close();
  });

  it('rejects a finite loss whose gradient is not, changes nothing, and keeps nothing of it', async () => {
    const trainer = await openAlignTrainer({ w: 1e30 });
    const before = await tensors(trainer, 'value');
    const error = await step(trainer).catch((e: unknown) => e as Error & { code: string });
    expect(error).to.have.property('code', 'non_finite');
    expect((error as Error).message).to.match(/^the loss is \d\S+ \(kernel \S+, anchor \S+\), and its gradient's norm inf$/);
    expect(await tensors(trainer, 'value')).to.deep.equal(before);
    for (const moments of (await tensors(trainer, 'exp_avg')).values()) expect(moments.every((v) => v === 0)).to.equal(true);
    // One image has no kernel loss, and its embedding is still the original's: all that could be in this gradient is the first step's.
    expect(await step(trainer, 1)).to.include({ loss: 0, gradNorm: 0 });
    await trainer.close();
  });

  it('says non_finite, and not bad_kernel, of embeddings that are not numbers', async () => {
    const trainer = await openAlignTrainer();
    const values = await tensors(trainer, 'value');
    const proj = trainer.parameters.find(({ name }) => name === 'proj')!;
    const file = join(work, 'nan');
    let offset = 0;
    const plan = trainer.parameters.flatMap(({ name, shape }) =>
      (['value', 'exp_avg', 'exp_avg_sq'] as const).map((state) => {
        const source = { file, offset, dtype: 'F32' as const, shape };
        offset += values.get(name)!.byteLength;
        return { parameter: name, state, source };
      }),
    );
    values.get(proj.name)!.fill(Number.NaN);
    const bytes = trainer.parameters.flatMap(({ name }) => {
      const value = values.get(name)!;
      return [Buffer.from(value.buffer), Buffer.alloc(value.byteLength), Buffer.alloc(value.byteLength)];
    });
    writeFileSync(file, Buffer.concat(bytes));
    await trainer.restore(plan, 0);
    expect(await step(trainer).catch((e: unknown) => e)).to.have.property('code', 'non_finite');
    await trainer.close();
  });
});
