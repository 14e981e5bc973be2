import { expect } from 'chai';

import { loadAddon } from '../../lib/native/load.js';
import { addParts, callOf, cases, distance, expectGolden, find, floats, norm, sameBits } from '../numerics/support.js';
import { describeOnGpu } from './support.js';

describeOnGpu('the kernel loss on a GPU', () => {
  const addon = loadAddon();
  const device = 'cuda';

  for (const c of cases) {
    for (const backend of ['plain', 'fused'] as const) {
      it(`${c.name}, ${c.kind}, ${backend}: equals float64 autograd`, async () => {
        expectGolden(await addon.kernelLoss({ ...callOf(c, backend), device }), c);
      });
    }
  }

  it('the fused error is at most twice the plain one of the CPU', async () => {
    for (const name of ['more than a tile', 'gaussian, more than a tile', 'cosine, more than a tile', 'wide embeddings']) {
      const c = find(name);
      const [plain, fused] = await Promise.all([addon.kernelLoss(callOf(c, 'plain')), addon.kernelLoss({ ...callOf(c, 'fused'), device })]);
      const dx = floats(c.dx);
      expect(distance(fused.dx!, dx), `dX, ${name}`).to.be.at.most(2 * distance(plain.dx!, dx) + 1e-7 * norm(dx));
      expect(Math.abs(fused.loss - c.loss), `loss, ${name}`).to.be.at.most(2 * Math.abs(plain.loss - c.loss) + 1e-7 * c.loss);
    }
  });

  it('has the same bits every time', async () => {
    for (const c of cases) {
      const first = await addon.kernelLoss({ ...callOf(c, 'fused'), device });
      for (let i = 0; i < 5; ++i) expect(sameBits(await addon.kernelLoss({ ...callOf(c, 'fused'), device }), first), c.name).to.equal(true);
    }
  });

  it('has the same bits every time with more blocks than a GPU runs at once, and is what the tiled sweep is', async () => {
    const [n, d, dt] = [4099, 133, 70];
    const waves = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(step * i * i) + 0.3);
    const kernel = { kind: 'polynomial', gamma: 0.01, c: 0.7, sigma: 1, sigmaTeacher: 1 } as const;
    const call = { x: waves(n * d, 0.37), y: waves(n * dt, 0.61), n, d, dt, kernel, backend: 'fused', gradient: true } as const;
    const tiled = await addon.kernelLoss(call);
    const first = await addon.kernelLoss({ ...call, device });
    for (let i = 0; i < 3; ++i) expect(sameBits(await addon.kernelLoss({ ...call, device }), first)).to.equal(true);
    for (const key of ['loss', 'dgamma', 'dc'] as const) expect(first[key], key).to.be.closeTo(tiled[key], 1e-4 * Math.abs(tiled[key]));
    expect(distance(first.dx!, tiled.dx!)).to.be.at.most(1e-4 * norm(tiled.dx!));
  });

  it('ranges of rows add up to the whole', async () => {
    const c = find('more than two tiles');
    const whole = await addon.kernelLoss({ ...callOf(c, 'fused'), device });
    const counts = [1, 64, c.n - 65];
    const all = addParts(
      await Promise.all(
        counts.map((_, rank) => addon.kernelLoss({ ...callOf(c, 'fused'), device, counts: Int32Array.from(counts), rank })),
      ),
    );
    for (const key of ['loss', 'dgamma', 'dc'] as const)
      expect(all[key], key).to.be.closeTo(whole[key], 1e-4 * Math.abs(whole[key]) + 1e-9);
    expect(distance(all.dx!, whole.dx!)).to.be.at.most(1e-6 * norm(whole.dx!));
  });

  it('is not a number where the kernel does not exist', async () => {
    const c = find('c = 0');
    const x = floats(c.x);
    x.fill(0, 0, c.d);
    expect((await addon.kernelLoss({ ...callOf(c, 'fused', {}, x), device })).loss).to.satisfy(Number.isNaN);
  });
});
