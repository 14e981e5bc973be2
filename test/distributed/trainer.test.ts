import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { startRanks } from './support.js';

interface Outcome {
  sha256: string;
  losses: number[];
  norms: number[];
  stopped: number | null;
}

describe('the trainer of several ranks', function () {
  this.timeout(60_000);
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-trainer-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  const folder = (name: string, rank: number) => join(work, `${name}-${rank}`);

  async function drive(name: string, counts: number[][], ...more: string[]): Promise<Outcome[]> {
    const ranks = await startRanks(counts[0]!.length, 'trainer-rank.js', (rank) => {
      mkdirSync(folder(name, rank));
      return [folder(name, rank), JSON.stringify(counts), ...more];
    });
    return ranks.map(({ code, stdout, stderr }) => {
      expect(code, stderr).to.equal(0);
      return JSON.parse(stdout) as Outcome;
    });
  }

  it("has the same weights and moments on every rank, to the bit, whatever each rank's images are", async () => {
    const outcomes = await drive('same', [
      [4, 4, 4],
      [4, 3, 1],
      [2, 0, 3],
      [1, 1, 1],
    ]);
    for (const outcome of outcomes) expect(outcome).to.deep.equal(outcomes[0]);
    const { losses, norms } = outcomes[0]!;
    for (const number of [...losses, ...norms]) expect(number).to.be.greaterThan(0);
  });

  it('knows on every rank after the same step that one of them wants to stop', async () => {
    expect(
      (
        await drive('stop', [
          [1, 1],
          [1, 1],
          [1, 1],
        ])
      ).map(({ stopped }) => stopped),
    ).to.deep.equal([1, 1]);
  });

  it('gives what rank 0 restores to all', async () => {
    await drive('saved', [[2, 2]]);
    const outcomes = await drive('restored', [[2, 2]], folder('saved', 0));
    expect(outcomes[1]).to.deep.equal(outcomes[0]);
    expect(outcomes[0]!.sha256).to.not.equal((await drive('fresh', [[2, 2]]))[0]!.sha256);
  });

  it('refuses a batch without a single image, on every rank', async () => {
    const ranks = await startRanks(2, 'trainer-rank.js', (rank) => {
      mkdirSync(folder('empty', rank));
      return [folder('empty', rank), JSON.stringify([[0, 0]])];
    });
    for (const { code, stderr } of ranks) {
      expect(code).to.not.equal(0);
      expect(stderr).to.contain("none of the batch's images could be decoded");
    }
  });
});
