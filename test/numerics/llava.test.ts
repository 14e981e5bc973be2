import { join } from 'node:path';

import { expect } from 'chai';
import { openLlava } from '../../lib/models/llava/open.js';
import { loadAddon } from '../../lib/native/load.js';
import { difference, floats, folder, llavaSpec, Trainer, trace } from '../native/llava-support.js';

/** The samples one by one, and in packs. */
const alone = trace.samples.map((_, i) => [i]);
const packed = [
  [0, 1, 2, 3],
  [4, 5, 6],
];
const all = [trace.samples.map((_, i) => i)];
const mean = (list: number[]) => list.reduce((sum, v) => sum + v, 0) / list.length;

describe('LLaVA', () => {
  it('has the losses of transformers in float64, sample by sample and packed', async () => {
    const trainer = await Trainer.open();
    for (const [i] of alone) {
      const { loss } = await trainer.native.evaluate(trainer.batch([i!]));
      expect(Math.abs(loss - trace.losses[i!]!), `sample ${i}`).to.be.at.most(1e-5);
    }
    const { loss, labels } = await trainer.native.evaluate(trainer.batch(all[0]!));
    expect(loss / trace.samples.length).to.be.closeTo(mean(trace.losses), 1e-5);
    expect(labels).to.equal(trace.samples.reduce((sum, { labels: l }) => sum + l.slice(1).filter((v) => v >= 0).length, 0));
    await trainer.close();
  });

  it("takes CLIP's features through ln_post when asked to", async () => {
    // The tower's last norm is in the model's files, but not in the plan of features as they are.
    const { model } = await openLlava(join(folder, 'model'), { feature: 'ln_post' });
    const trainer = await Trainer.open({}, { feature: 'ln_post', weights: model.weights });
    const { loss } = await trainer.native.evaluate(trainer.batch([0]));
    expect(loss).to.be.closeTo(trace.ln_post, 1e-5);
    expect(Math.abs(loss - trace.losses[0]!)).to.be.greaterThan(1e-3);
    await trainer.close();
  });

  for (const [how, groups, gradientCheckpointing] of [
    ['sample by sample', alone, false],
    ['packed', packed, false],
    ['packed, checkpointing', all, true],
  ] as const) {
    it(`has the gradients of float64 autograd: ${how}`, async () => {
      const trainer = await Trainer.open({ gradientCheckpointing });
      const { loss, gradNorm } = await trainer.update(groups.map((group) => [...group]));
      expect(loss).to.be.closeTo(mean(trace.losses), 1e-5);
      expect(gradNorm / trace.grad_norm).to.be.closeTo(1, 1e-5);
      // After one update the first moment is a tenth of the gradient. Errors are compared with those of torch's own fp32, relative to each
      // tensor's largest number: at most twice, and no larger on the whole. A single tensor of torch's may be near by luck; then 5e-7
      // counts.
      const moments = await trainer.tensors('exp_avg');
      const theirs = mean(Object.values(trace.fp32_errors));
      const errors: number[] = [];
      for (const [name, expected] of await floats(join(folder, 'gradients.safetensors'))) {
        const error = difference(
          moments.get(name)!.map((v) => 10 * v),
          expected,
        );
        errors.push(error);
        expect(error, name).to.be.at.most(2 * Math.max(trace.fp32_errors[name]!, 5e-7));
      }
      expect(mean(errors)).to.be.at.most(1.2 * theirs);
      await trainer.close();
    });
  }

  it("is updated as torch's AdamW does, with decay, clipping and a learning rate of the projector's own", async () => {
    const { lr, projector_lr: projectorLr, weight_decay: weightDecay, max_grad_norm: maxGradNorm, trace: updates } = trace.updates;
    const trainer = await Trainer.open({ maxGradNorm, optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay } });
    for (const { loss, grad_norm: norm } of updates) {
      const found = await trainer.update(packed, { lr, projectorLr });
      expect(found.loss).to.be.closeTo(loss, 1e-5);
      expect(found.gradNorm / norm).to.be.closeTo(1, 1e-4);
    }
    const values = await trainer.tensors();
    for (const [name, expected] of await floats(join(folder, 'updated.safetensors')))
      expect(difference(values.get(name)!, expected), name).to.be.at.most(1e-4);
    await trainer.close();
  });

  it('is near it in bf16', async () => {
    for (const gradientCheckpointing of [false, true]) {
      const trainer = await Trainer.open({ gradientCheckpointing }, { precision: 'bf16', basePrecision: 'bf16' });
      const { loss, gradNorm } = await trainer.update(packed);
      expect(loss).to.be.closeTo(mean(trace.losses), 3e-2);
      expect(gradNorm / trace.grad_norm).to.be.closeTo(1, 3e-2);
      await trainer.close();
    }
  });

  it('generates what transformers does, token for token', async () => {
    const model = await loadAddon().openLlava(await llavaSpec());
    for (const [i, expected] of trace.generation.entries()) {
      const { tokens, pixels, images } = trace.samples[i]!;
      const found = [
        await model.prefill({
          tokens: Int32Array.from(tokens),
          imageRows: Int32Array.from({ length: 4 * images }, (_, k) => k),
          pixels: Buffer.from(pixels, 'base64'),
          images,
        }),
      ];
      while (found.length < expected.length) found.push(await model.next(found.at(-1)!));
      expect(found).to.deep.equal(expected);
    }
    await model.close();
  });

  it('with B = 0 is the base itself, with A within its bound', async () => {
    const lora = (await llavaSpec()).lora!;
    const [base, fresh] = [await Trainer.open({}, { lora: null }), await Trainer.open({}, { lora: { ...lora, weights: null } })];
    const losses = await Promise.all([base, fresh].map((trainer) => trainer.native.evaluate(trainer.batch([0]))));
    expect(losses[1]).to.deep.equal(losses[0]);
    for (const [name, values] of await fresh.tensors()) {
      if (name.includes('lora_B'))
        expect(
          values.every((v) => v === 0),
          name,
        ).to.equal(true);
      if (name.includes('lora_A')) {
        const bound = 1 / Math.sqrt(values.length / lora.rank);
        const largest = values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
        expect(largest).to.be.within(0.9 * bound, bound);
      }
    }
    await Promise.all([base.close(), fresh.close()]);
  });

  it('keeps its base in nf4: a loss near the exact one', async () => {
    const trainer = await Trainer.open({}, { basePrecision: 'nf4' });
    const { loss } = await trainer.native.evaluate(trainer.batch(all[0]!));
    expect(loss / trace.samples.length).to.be.closeTo(mean(trace.losses), 0.2);
    await trainer.close();
  });
});

describe('NF4', () => {
  const numbers = Float32Array.from(
    { length: 64 * 600 },
    (_, i) => Math.sin(i * i) * (1 + 3 * Math.abs(Math.cos(i >> 6))) + (i % 97 === 0 ? 2 : 0),
  );

  it('gives the nearest of the 16 published values, times scales that 8 bits hold', async () => {
    const { codes, values } = await loadAddon().nf4(numbers);
    const code = (i: number) => (i % 2 === 0 ? codes[i >> 1]! >> 4 : codes[i >> 1]! & 15);
    const largest = Array.from({ length: numbers.length / 64 }, (_, b) =>
      numbers.subarray(64 * b, 64 * b + 64).reduce((most, v) => Math.max(most, Math.abs(v)), 0),
    );
    const average = mean(largest);
    for (let b = 0; b < largest.length; b++) {
      const group = largest.slice(b & ~255, (b & ~255) + 256);
      const step = Math.max(...group.map((v) => Math.abs(v - average))) / 127;
      // The scale as it was kept, from any number of the block whose value is not 0.
      const at = Array.from({ length: 64 }, (_, i) => 64 * b + i).find((i) => code(i) !== 7)!;
      const scale = values[at]! / trace.nf4[code(at)]!;
      expect(Math.abs(scale - largest[b]!)).to.be.at.most(0.501 * step + 1e-6 * average);
      for (let i = 64 * b; i < 64 * b + 64; i++) {
        expect(Math.abs(values[i]! - trace.nf4[code(i)]! * scale)).to.be.at.most(1e-6 * scale);
        const nearest = Math.min(...trace.nf4.map((v) => Math.abs(v * scale - numbers[i]!)));
        expect(Math.abs(values[i]! - numbers[i]!)).to.be.at.most(nearest + 1e-6 * scale);
      }
    }
  });

  it('takes blocks of zeros, and refuses what is not a number of blocks', async () => {
    const { values } = await loadAddon().nf4(new Float32Array(128));
    expect(values.every((v) => v === 0)).to.equal(true);
    expect(() => void loadAddon().nf4(new Float32Array(63))).to.throw(RangeError);
  });
});
