import { expect } from 'chai';

import type { KernelSpec } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';
import { callOf, cases, distance, expectGolden, find, floats, norm, sameBits, type Case } from './support.js';

const addon = loadAddon();
const backends = ['plain', 'fused', 'chunked'] as const;

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
    for (const backend of ['fused', 'chunked'] as const) {
      const { loss, dx } = await evaluate(find('one image'), backend);
      expect(loss).to.equal(0);
      expect(Array.from(dx!).every((v) => v === 0)).to.equal(true);
    }
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
    const central = async (c: Case, at: (step: number) => Promise<{ loss: number }>, h: number) => ((await at(h)).loss - (await at(-h)).loss) / (2 * h);
    for (const [name, key, derivative] of [['a small batch', 'gamma', 'dgamma'], ['a small batch', 'c', 'dc'], ['gaussian', 'sigma', 'dsigma']] as const) {
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
      const along = (step: number) => evaluate(c, 'fused', {}, floats(c.x).map((v, i) => v + (step * dx![i]!) / length), false);
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
    const parts = (n: number, ranks: number) => Array.from({ length: ranks + 1 }, (_, r) => Math.floor((r * n) / ranks));

    for (const c of cases.filter(({ n }) => n >= 3)) {
      for (const backend of backends) {
        it(`${c.name}, ${c.kind}, ${backend}: summands add up, rows of the gradient are exact`, async () => {
          const kernel: KernelSpec = { kind: c.kind, gamma: c.gamma, c: c.c, sigma: c.sigma, sigmaTeacher: c.sigmaTeacher };
          const dx = floats(c.dx);
          for (const ranks of [1, 2, 3]) {
            const bounds = parts(c.n, ranks);
            const sums = { loss: 0, dgamma: 0, dc: 0, dsigma: 0 };
            const found = new Float32Array(c.n * c.d);
            for (let r = 0; r < ranks; r++) {
              const [begin, end] = [bounds[r]!, bounds[r + 1]!];
              const part = await addon.kernelLoss({ x: floats(c.x), y: floats(c.y), n: c.n, d: c.d, dt: c.dt, kernel, backend, gradient: true, begin, end });
              for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += part[key];
              found.set(part.dx!, begin * c.d);
            }
            expect(sums.loss, `loss, ${ranks} ranks`).to.be.closeTo(c.loss, 2e-5 * c.loss + 1e-9);
            expect(distance(found, dx), `dX, ${ranks} ranks`).to.be.at.most(1e-4 * norm(dx) + 1e-9);
            const close = (key: 'dgamma' | 'dc' | 'dsigma') => expect(sums[key], `${key}, ${ranks} ranks`).to.be.closeTo(c[key], 2e-4 * Math.abs(c[key]) + 1e-4 * Math.abs(c.dc) + 1e-8);
            if (c.kind === 'polynomial') ['dgamma' as const, 'dc' as const].forEach(close);
            if (c.kind === 'gaussian') close('dsigma');
          }
        });
      }
    }

    it('has the bits of the one process when it has all rows', async () => {
      const c = find('more than two tiles');
      const kernel: KernelSpec = { kind: c.kind, gamma: c.gamma, c: c.c, sigma: c.sigma, sigmaTeacher: c.sigmaTeacher };
      const all = await addon.kernelLoss({ x: floats(c.x), y: floats(c.y), n: c.n, d: c.d, dt: c.dt, kernel, backend: 'fused', gradient: true, begin: 0, end: c.n });
      const whole = await evaluate(c, 'fused');
      expect([all.loss, all.dc]).to.deep.equal([whole.loss, whole.dc]);
      expect(Buffer.compare(Buffer.from(all.dx!.buffer), Buffer.from(whole.dx!.buffer))).to.equal(0);
    });

    it('refuses rows that are not there', () => {
      const c = find('a small batch');
      const options = { x: floats(c.x), y: floats(c.y), n: c.n, d: c.d, dt: c.dt, kernel: { kind: c.kind, gamma: c.gamma, c: c.c, sigma: c.sigma, sigmaTeacher: c.sigmaTeacher }, backend: 'fused' as const, gradient: true };
      expect(() => addon.kernelLoss({ ...options, begin: 3, end: c.n + 1 })).to.throw(RangeError, 'begin < end');
    });
  });

  it('says where the kernel does not exist', async () => {
    const c = find('c = 0');
    const x = floats(c.x);
    x.fill(0, 0, c.d);
    const error = await evaluate(c, 'fused', {}, x).catch((e: unknown) => e as { code: string; message: string });
    expect(error).to.have.property('code', 'bad_kernel');
  });
});
