import { expect } from 'chai';

import type { MicroBatch } from '../../lib/native/addon.js';
import { difference, Trainer, trace } from './llava-support.js';

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (error: { code?: string }) => error.code ?? String(error),
  );

describe('the LoRA trainer', () => {
  it('gives a sample with nothing to learn a loss of 0 and no gradient', async () => {
    const trainer = await Trainer.open();
    const before = await trainer.tensors();
    expect(await trainer.update([[3]], { lr: 1, projectorLr: 1 })).to.include({ loss: 0, gradNorm: 0, labels: 0 });
    expect(await trainer.native.evaluate(trainer.batch([3]))).to.deep.equal({ loss: 0, denominator: 1, labels: 0 });
    expect(await trainer.tensors()).to.deep.equal(before);
    // And an update without any micro-batch, or with a denominator of 0, changes nothing either.
    await trainer.native.accumulate(trainer.batch([0], 0));
    expect(await trainer.native.update({ lr: 1, projectorLr: 1, log: true })).to.include({ loss: 0, gradNorm: 0 });
    expect(await trainer.tensors()).to.deep.equal(before);
    await trainer.close();
  });

  it('rejects a loss that is not finite before anything changes, and goes on', async () => {
    const trainer = await Trainer.open();
    const before = [await trainer.tensors(), await trainer.tensors('exp_avg')];
    await trainer.native.accumulate({ ...trainer.batch([0]), weights: Float32Array.of(Infinity) });
    expect(await codeOf(trainer.native.update({ lr: 1, projectorLr: 1, log: true }))).to.equal('non_finite');
    expect([await trainer.tensors(), await trainer.tensors('exp_avg')]).to.deep.equal(before);
    expect((await trainer.update([[0]])).loss).to.be.closeTo(trace.losses[0]!, 1e-5);
    await trainer.close();
  });

  it('refuses micro-batches that do not hold together', async () => {
    const trainer = await Trainer.open();
    const good = trainer.batch([0, 2]);
    const { tokens, labels, lengths, weights } = good;
    const changed = (array: Int32Array, i: number, value: number) => Int32Array.from(array, (v, k) => (k === i ? value : v));
    const bad: Partial<MicroBatch>[] = [
      { tokens: changed(tokens, 0, 96) },
      { tokens: changed(tokens, 0, -1) },
      { tokens: changed(tokens, 0, -200) },
      { labels: changed(labels, 19, 96) },
      { labels: labels.slice(1) },
      { lengths: changed(lengths, 0, 21) },
      { lengths: Int32Array.of(0, ...lengths), weights: Float32Array.of(1, 1, 1), sampleKeys: Uint32Array.of(1, 2, 3) },
      { weights: weights.slice(1) },
      { imageRows: changed(good.imageRows, 0, 12) },
      { imageRows: good.imageRows.slice(1) },
      { images: 9 },
      { images: -1 },
      { slot: 1 },
      { sampleKeys: new Uint32Array(1) },
      {
        tokens: new Int32Array(0),
        labels: new Int32Array(0),
        lengths: new Int32Array(0),
        weights: new Float32Array(0),
        sampleKeys: new Uint32Array(0),
        imageRows: new Int32Array(0),
      },
    ];
    for (const change of bad) {
      expect(await codeOf(trainer.native.accumulate({ ...good, ...change })), JSON.stringify(change)).to.equal('bad_batch');
      expect(await codeOf(trainer.native.evaluate({ ...good, ...change }))).to.equal('bad_batch');
    }
    expect(() => void trainer.native.accumulate({ ...good, tokens: [] as never })).to.throw(TypeError, 'expected an Int32Array for tokens');
    await trainer.close();
    await trainer.close();
    expect(await codeOf(trainer.native.update({ lr: 0, projectorLr: 0, log: true }))).to.equal('closed');
  });

  it('takes an image that truncation cut short', async () => {
    const trainer = await Trainer.open();
    const batch = trainer.batch([0]);
    const cut = {
      ...batch,
      tokens: batch.tokens.slice(0, 5),
      labels: Int32Array.of(-100, -100, 7, -100, 8),
      lengths: Int32Array.of(5),
      imageRows: Int32Array.of(0, 1),
    };
    const { loss, labels } = await trainer.native.evaluate(cut);
    expect(labels).to.equal(2);
    expect(loss).to.be.greaterThan(0);
    await trainer.close();
  });

  it('takes pixels as fp32 too', async () => {
    const trainer = await Trainer.open();
    const ready = await Trainer.open({ pixels: 'f32' });
    const [mean, std] = [
      [0.48145466, 0.4578275, 0.40821073],
      [0.26862954, 0.26130258, 0.27577711],
    ];
    const batch = trainer.batch([0]);
    const normalised = Float32Array.from(
      trainer.native.slots[0]!.subarray(0, 3 * 784),
      (v, i) => (v / 255 - mean[Math.floor(i / 784)]!) / std[Math.floor(i / 784)]!,
    );
    ready.native.slots[0]!.set(new Uint8Array(normalised.buffer));
    const losses = [await trainer.native.evaluate(batch), await ready.native.evaluate(batch)];
    expect(losses[1]!.loss).to.be.closeTo(losses[0]!.loss, 1e-6);
    await trainer.close();
    await ready.close();
  });

  for (const gradientCheckpointing of [false, true]) {
    it(`is resumed bit for bit, with dropout${gradientCheckpointing ? ' and checkpointing' : ''}`, async () => {
      const spec = { dropout: 0.2, gradientCheckpointing };
      const rates = { lr: 1e-3, projectorLr: 1e-3 };
      const whole = await Trainer.open(spec);
      for (let i = 0; i < 2; i++) await whole.update([[0, 1], [2]], rates);
      const middle = {
        value: await whole.tensors(),
        exp_avg: await whole.tensors('exp_avg'),
        exp_avg_sq: await whole.tensors('exp_avg_sq'),
      };
      const again = await Trainer.open(spec);
      await again.restore(middle, 2);
      for (const trainer of [whole, again])
        await trainer.update(
          [
            [4, 5],
            [6, 0],
          ],
          rates,
        );
      for (const state of ['value', 'exp_avg', 'exp_avg_sq'] as const)
        expect(await again.tensors(state)).to.deep.equal(await whole.tensors(state));
      await Promise.all([whole.close(), again.close()]);
    });
  }
});

describe('dropout', () => {
  it('has one mask in forward and backward: the loss falls along its gradient as the gradient says', async () => {
    const trainer = await Trainer.open({ dropout: 0.3 });
    const groups = [
      [0, 1, 2],
      [4, 5, 6],
    ];
    const { gradNorm, loss } = await trainer.update(groups);
    const start = await trainer.tensors();
    const gradient = await trainer.tensors('exp_avg');
    const moved = async (distance: number) => {
      const values = new Map(
        [...start].map(([name, v]) => [name, v.map((x, i) => x + (distance * 10 * gradient.get(name)![i]!) / gradNorm)]),
      );
      await trainer.restore({ value: values, exp_avg: gradient, exp_avg_sq: gradient }, 1);
      return (await trainer.update(groups)).loss;
    };
    const step = 1e-2;
    expect(((await moved(step)) - (await moved(-step))) / (2 * step) / gradNorm).to.be.closeTo(1, 2e-3);
    // The same loss again of the same numbers: the mask is a function of them alone.
    expect(await moved(0)).to.equal(loss);
    await trainer.close();
  });

  it('does not depend on how samples are packed, but on the sample and the seed', async () => {
    const losses: number[] = [];
    for (const [seed, groups] of [
      [7, [[0], [1], [2]]],
      [7, [[2, 0, 1]]],
      [8, [[0, 1, 2]]],
    ] as const) {
      const trainer = await Trainer.open({ dropout: 0.3, seed });
      const { loss } = await trainer.update(groups.map((group) => [...group]));
      losses.push(loss);
      await trainer.close();
    }
    expect(losses[1]).to.be.closeTo(losses[0]!, 1e-6);
    expect(Math.abs(losses[2]! - losses[0]!)).to.be.greaterThan(1e-4);
  });

  it('is off in evaluation, and leaves the gradient as it is in the mean', async () => {
    const trainer = await Trainer.open({ dropout: 0.1, trainProjector: false });
    const { loss } = await trainer.native.evaluate(trainer.batch([0]));
    expect(loss).to.be.closeTo(trace.losses[0]!, 1e-5);
    // B's gradient is linear in dropout(x) but for what dropout does upstream of it: the mean over many samples' masks is near the exact
    // one.
    const batch = trainer.batch([0]);
    const draws = 400;
    for (let i = 0; i < draws; i++) await trainer.native.accumulate({ ...batch, sampleKeys: Uint32Array.of(1000 + i) });
    await trainer.native.update({ lr: 0, projectorLr: 0, log: true });
    const exact = await Trainer.open({ trainProjector: false });
    await exact.update([[0]]);
    const [found, expected] = [await trainer.tensors('exp_avg'), await exact.tensors('exp_avg')];
    const name = 'model.layers.1.mlp.down_proj.lora_B.weight';
    expect(difference(found.get(name)!, expected.get(name)!)).to.be.at.most(0.1);
    await Promise.all([trainer.close(), exact.close()]);
  });
});
