import { expect } from 'chai';

import { loadAddon } from '../../lib/native/load.js';
import { addParts, callOf, cases, distance, expectGolden, find, floats, norm, sameBits } from './support.js';
import { twin } from './twin.js';

const addon = loadAddon();

/** The blocks of the GPU's kernels, which the CPU runs thread after thread: native/kernels/alignment/blocks.h. */
describe("the kernel loss in the GPU's blocks, on the CPU", () => {
  for (const c of cases) {
    it(`${c.name}, ${c.kind}: equals float64 autograd`, () => expectGolden(twin(callOf(c, 'fused')), c));
  }

  it('its error is at most twice the plain one', async () => {
    for (const name of ['more than a tile', 'gaussian, more than a tile', 'cosine, more than a tile', 'wide embeddings']) {
      const c = find(name);
      const [plain, grid] = [await addon.kernelLoss(callOf(c, 'plain')), twin(callOf(c, 'fused'))];
      const dx = floats(c.dx);
      expect(distance(grid.dx!, dx), `dX, ${name}`).to.be.at.most(2 * distance(plain.dx!, dx) + 1e-7 * norm(dx));
      expect(Math.abs(grid.loss - c.loss), `loss, ${name}`).to.be.at.most(2 * Math.abs(plain.loss - c.loss) + 1e-7 * c.loss);
    }
  });

  it('no thread needs what another does in the same phase', () => {
    for (const name of ['more than a tile', 'gaussian', 'cosine, more than a tile', 'wide embeddings', 'one image']) {
      const call = callOf(find(name), 'fused');
      expect(sameBits(twin(call), twin(call, true)), name).to.equal(true);
    }
  });

  it('ranges of rows add up to the whole', () => {
    for (const name of ['more than two tiles', 'gaussian, more than a tile', 'wide embeddings']) {
      const c = find(name);
      const whole = twin(callOf(c, 'fused'));
      const counts = [1, 64, c.n - 65];
      const all = addParts(counts.map((_, rank) => twin({ ...callOf(c, 'fused'), counts: Int32Array.from(counts), rank })));
      // dc is what is left of two larger sums.
      for (const key of ['loss', 'dgamma', 'dc', 'dsigma'] as const)
        expect(all[key], `${key}, ${name}`).to.be.closeTo(whole[key], 1e-4 * Math.abs(whole[key]) + 1e-9);
      expect(distance(all.dx!, whole.dx!), `dX, ${name}`).to.be.at.most(1e-6 * norm(whole.dx!));
    }
  });

  it('has what the tiled sweep has where a block sweeps several tiles of columns', async () => {
    const [n, d, dt] = [1100, 5, 3];
    const waves = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(step * i * i) + 0.3);
    const kernel = { kind: 'polynomial', gamma: 0.3, c: 0.7, sigma: 1, sigmaTeacher: 1 } as const;
    const call = { x: waves(n * d, 0.37), y: waves(n * dt, 0.61), n, d, dt, kernel, gradient: true };
    const tiled = await addon.kernelLoss({ ...call, backend: 'fused' });
    const [grid, reversed] = [twin(call), twin(call, true)];
    for (const key of ['loss', 'dgamma', 'dc'] as const) expect(grid[key], key).to.be.closeTo(tiled[key], 1e-5 * Math.abs(tiled[key]));
    expect(distance(grid.dx!, tiled.dx!)).to.be.at.most(1e-5 * norm(tiled.dx!));
    expect(sameBits(grid, reversed)).to.equal(true);
  });

  it('has the same loss without a gradient', () => {
    const c = find('wide embeddings');
    const [withGradient, without] = [twin(callOf(c, 'fused')), twin(callOf(c, 'fused', {}, floats(c.x), false))];
    expect(without.loss).to.equal(withGradient.loss);
    expect(without.dx).to.equal(undefined);
  });

  it('is not a number where the kernel does not exist: nothing is read back to throw', () => {
    const c = find('c = 0');
    const x = floats(c.x);
    x.fill(0, 0, c.d);
    expect(twin(callOf(c, 'fused', {}, x)).loss).to.satisfy(Number.isNaN);
    expect(twin(callOf(c, 'fused', { c: -10 })).loss).to.satisfy(Number.isNaN);
  });
});
