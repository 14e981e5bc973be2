import { expect } from 'chai';

import { loadAddon } from '../../lib/native/load.js';
import { addParts, type Case, callOf, cases, distance, evenly, expectGolden, find, floats, norm, sameBits } from './support.js';

const addon = loadAddon();
const backends = ['plain', 'fused'] as const;

const evaluate = (...call: Parameters<typeof callOf>) => addon.kernelLoss(callOf(...call));

describe('the kernel loss', () => {
  for (const c of cases) {
    for (const backend of backends) {
      it(`${c.name}, ${c.kind}, ${backend}: equals float64 autograd`, async () => {
        expectGolden(await evaluate(c, backend), c);
      });
    }
  }

  it('one image has no loss and no gradient', async () => {
    const { loss, dx } = await evaluate(find('one image'), 'fused');
    expect(loss).to.equal(0);
    expect(Array.from(dx!).every((v) => v === 0)).to.equal(true);
  });

  it('the fused error is at most twice the plain one', async () => {
    for (const name of ['more than a tile', 'gaussian, more than a tile', 'cosine, more than a tile']) {
      const c = find(name);
      const [plain, fused] = await Promise.all([evaluate(c, 'plain'), evaluate(c, 'fused')]);
      const dx = floats(c.dx);
      expect(distance(fused.dx!, dx), `dX, ${name}`).to.be.at.most(2 * distance(plain.dx!, dx) + 1e-7 * norm(dx));
      expect(Math.abs(fused.loss - c.loss), `loss, ${name}`).to.be.at.most(2 * Math.abs(plain.loss - c.loss) + 1e-7 * c.loss);
    }
  });

  it('depends on c / gamma alone, and its derivatives say so', async () => {
    const c = find('a small batch');
    const { loss, dgamma, dc } = await evaluate(c, 'fused');
    const scaled = await evaluate(c, 'fused', { gamma: c.gamma * 7, c: c.c * 7 });
    expect(scaled.loss).to.be.closeTo(loss, 1e-5 * loss);
    expect(c.gamma * dgamma + c.c * dc).to.be.closeTo(0, 1e-6 * Math.abs(c.c * dc));
  });

  it('its derivatives are those of finite differences', async () => {
    const central = async (_c: Case, at: (step: number) => Promise<{ loss: number }>, h: number) =>
      ((await at(h)).loss - (await at(-h)).loss) / (2 * h);
    for (const [name, key, derivative] of [
      ['a small batch', 'gamma', 'dgamma'],
      ['a small batch', 'c', 'dc'],
      ['gaussian', 'sigma', 'dsigma'],
    ] as const) {
      const c = find(name);
      const h = c[key] * 0.01;
      const numeric = await central(c, (step) => evaluate(c, 'fused', { [key]: c[key] + step }, undefined, false), h);
      expect((await evaluate(c, 'fused'))[derivative], `${key}`).to.be.closeTo(numeric, 0.01 * Math.abs(numeric));
    }
    for (const name of ['a small batch', 'gaussian', 'cosine']) {
      const c = find(name);
      const { dx } = await evaluate(c, 'fused');
      // Along the gradient itself, where the change is largest against rounding.
      const length = norm(dx!);
      const along = (step: number) =>
        evaluate(
          c,
          'fused',
          {},
          floats(c.x).map((v, i) => v + (step * dx![i]!) / length),
          false,
        );
      expect(length, name).to.be.closeTo(await central(c, along, 0.02), 0.01 * length);
    }
  });

  it('gives the same bits for one thread and for two', async () => {
    const c = find('more than two tiles');
    await addon.setThreads(1);
    const one = await evaluate(c, 'fused');
    await addon.setThreads(2);
    const two = await evaluate(c, 'fused');
    expect(sameBits(one, two)).to.equal(true);
  });

  describe('of one rank among several', () => {
    const partsOf = (c: Case, backend: (typeof backends)[number], counts: number[]) =>
      Promise.all(counts.map((_, rank) => addon.kernelLoss({ ...callOf(c, backend), counts: Int32Array.from(counts), rank })));

    for (const c of cases.filter(({ n }) => n >= 3)) {
      // The fused loss exchanges: test/distributed/loss.test.ts.
      it(`${c.name}, ${c.kind}, plain: summands add up, rows of the gradient are exact`, async () => {
        for (const ranks of [1, 2, 3]) expectGolden(addParts(await partsOf(c, 'plain', evenly(c.n, ranks))), c);
      });
    }

    it('has the bits of the one process when it has all rows', async () => {
      const c = find('more than two tiles');
      const [all] = await partsOf(c, 'fused', [c.n]);
      expect(sameBits(all!, await evaluate(c, 'fused'))).to.equal(true);
    });

    it('refuses rows and ranks that are not there', () => {
      const options = callOf(find('a small batch'), 'fused');
      expect(() => addon.kernelLoss({ ...options, counts: Int32Array.of(3, options.n - 2), rank: 0 })).to.throw(
        RangeError,
        'counts of n rows',
      );
      expect(() => addon.kernelLoss({ ...options, counts: Int32Array.of(-1, options.n + 1), rank: 0 })).to.throw(
        RangeError,
        'counts of n rows',
      );
      expect(() => addon.kernelLoss({ ...options, counts: Int32Array.of(3, options.n - 3), rank: 2 })).to.throw(
        RangeError,
        'rank < counts.length',
      );
    });
  });

  it('lets what is not a number through: it is no fault of the kernel', async () => {
    for (const c of [find('a small batch'), find('cosine'), find('gaussian')]) {
      const x = floats(c.x);
      x[1] = Number.NaN;
      expect((await evaluate(c, 'fused', {}, x)).loss, c.name).to.satisfy(Number.isNaN);
      x[1] = Number.POSITIVE_INFINITY;
      expect((await evaluate(c, 'fused', {}, x)).loss, c.name).to.satisfy(Number.isNaN);
    }
  });

  it('says where the kernel does not exist', async () => {
    const c = find('c = 0');
    const x = floats(c.x);
    x.fill(0, 0, c.d);
    const error = await evaluate(c, 'fused', {}, x).catch((e: unknown) => e as { code: string; message: string });
    expect(error).to.have.property('code', 'bad_kernel');
  });
});
