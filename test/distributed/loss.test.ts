import { expect } from 'chai';

import { addParts, cases, evenly, expectGolden, find, floats } from '../numerics/support.js';
import type { LossPart, LossTask } from './loss-rank.js';
import { startRanks } from './support.js';

/** The parts of all ranks, task by task. */
async function compute(worldSize: number, tasks: LossTask[]): Promise<LossPart[][]> {
  const ranks = await startRanks(worldSize, 'loss-rank.js', () => [JSON.stringify(tasks)]);
  const parts = ranks.map(({ code, stdout, stderr }) => {
    expect(code, stderr).to.equal(0);
    return JSON.parse(stdout) as LossPart[];
  });
  return tasks.map((_, i) => parts.map((part) => part[i]!));
}

const together = (parts: LossPart[]) =>
  addParts(parts.map((part) => ('code' in part ? expect.fail(part.code) : { ...part, dx: floats(part.dx) })));

describe('the kernel loss of several ranks', function () {
  this.timeout(60_000);

  for (const worldSize of [2, 3]) {
    it(`${worldSize} ranks, each of which has swept its share of the tiles: equals float64 autograd`, async () => {
      const goldens = cases.filter(({ n }) => n >= worldSize);
      const results = await compute(
        worldSize,
        goldens.map(({ name, n }) => ({ name, counts: evenly(n, worldSize) })),
      );
      goldens.forEach((c, i) => expectGolden(together(results[i]!), c));
    });
  }

  it('a rank sweeps its share whatever rows it has, or none', async () => {
    const c = find('more than two tiles');
    const results = await compute(
      3,
      [
        [1, 2, c.n - 3],
        [100, 0, c.n - 100],
        [0, 0, c.n],
      ].map((counts) => ({ name: c.name, counts })),
    );
    for (const parts of results) {
      expectGolden(together(parts), c);
      for (const part of parts) expect(part).to.have.property('loss').that.is.greaterThan(0);
    }
  });

  it('where one of them has an embedding without a kernel, all say so and none waits', async () => {
    const { name, n } = find('more than two tiles');
    const [refused, next] = await compute(2, [
      { name, counts: [1, n - 1], zero: true },
      { name, counts: [1, n - 1] },
    ]);
    expect(refused).to.deep.equal([{ code: 'bad_kernel' }, { code: 'bad_kernel' }]);
    expectGolden(together(next!), find(name));
  });
});
