import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { type AlignOptions, align } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';
import { demo, type Ended, eventsOf, runRanks, startRanks, stepsOf } from './support.js';

describe('a run in several ranks', function () {
  this.timeout(120_000);
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-rank-runs-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  const options = (name: string, more: Partial<AlignOptions> = {}): AlignOptions => ({
    ...demo,
    out: join(work, name),
    batchSize: 12,
    steps: 8,
    scheduler: 'constant',
    logEvery: 1,
    saveEvery: 4,
    keepCheckpoints: 9,
    exportLayouts: ['visual'],
    ...more,
  });
  const well = (ranks: Ended[]) => {
    for (const { code, stderr } of ranks) expect(code, stderr).to.equal(0);
    return ranks;
  };

  it('is resumed by another number of ranks, from one folder that rank 0 alone has written', async () => {
    const run = options('resumed');
    well(await runRanks(3, run));
    expect(readdirSync(run.out).sort()).to.deep.equal([
      'cache',
      'checkpoints',
      'config.yaml',
      'export',
      'inputs.json',
      'latest',
      'metrics.jsonl',
    ]);
    const losses = () =>
      readFileSync(join(run.out, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { loss: number }).loss);
    const before = losses();
    expect(before).to.have.length(8);

    for (const worldSize of [2, 1]) {
      rmSync(join(run.out, 'checkpoints/step-000008'), { recursive: true });
      rmSync(join(run.out, 'export'), { recursive: true });
      if (worldSize > 1) {
        const ranks = well(await runRanks(worldSize, { ...run, resume: true }));
        expect(ranks.map((rank) => stepsOf(rank)[0]!.step)).to.deep.equal([5, 5]);
      } else {
        await align({ ...run, resume: true }).result;
      }
      losses().forEach((loss, i) => expect(loss, `step ${i + 1}, ${worldSize} ranks`).to.be.closeTo(before[i]!, 1e-5 * before[i]!));
      expect(existsSync(join(run.out, 'export/visual.safetensors'))).to.equal(true);
    }
  });

  it('fills one cache, each rank with the images that it meets', async () => {
    const cache = join(work, 'cache');
    const images = 36;
    const first = well(await runRanks(3, options('fills', { cache, steps: images / 12 })));
    const present = (ended: Ended) => eventsOf(ended).flatMap((event) => (event.type === 'cache' ? [event.present] : []));
    expect(first.flatMap(present)).to.deep.equal([0, 0, 0]);
    const second = well(await runRanks(2, options('finds', { cache, steps: images / 12 })));
    expect(second.flatMap(present)).to.deep.equal([images, images]);
    expect(stepsOf(second[0]!).map(({ loss }) => loss)).to.have.length(images / 12);
  });

  it("goes on when a rank's images are all undecodable, and lists them once", async () => {
    const data = join(work, 'images');
    mkdirSync(data);
    const inputs = join(packageRoot(), 'test/golden/pixels/inputs');
    const names = readdirSync(inputs).filter((name) => name.endsWith('.jpg') || name.endsWith('.png'));
    for (let i = 0; i < 9; i++) cpSync(join(inputs, names[i % names.length]!), join(data, `${i}${names[i % names.length]!.slice(-4)}`));
    // In batches of 3 without shuffling: the second rank's image of the second batch.
    for (const name of readdirSync(data).filter((name) => name.startsWith('4'))) rmSync(join(data, name));
    writeFileSync(join(data, '4.jpg'), 'no image');
    const run = options('skips', { data, batchSize: 3, steps: 6, shuffle: false });
    const ranks = well(await runRanks(3, run));
    const listed = readFileSync(join(run.out, 'skipped.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { index: number; name: string });
    expect(listed.map(({ index, name }) => [index, name])).to.deep.equal([[4, '4.jpg']]);

    const lines: number[] = [];
    for await (const event of align({ ...run, out: join(work, 'skips-alone') })) if (event.type === 'step') lines.push(event.loss);
    stepsOf(ranks[0]!).forEach(({ loss }, i) => expect(loss, `step ${i + 1}`).to.be.closeTo(lines[i]!, 1e-5 * lines[i]!));
  });

  it('fails alike on every rank when the folder is taken', async () => {
    const run = options('taken', { steps: 1 });
    mkdirSync(run.out);
    writeFileSync(join(run.out, 'something'), '');
    for (const { code, stderr } of await runRanks(2, run)) {
      expect(code).to.not.equal(0);
      expect(stderr).to.contain('expected a new or empty folder');
    }
  });

  it('waits for rank 0, which exports alone, for as long as that takes', async () => {
    well(await startRanks(2, 'lingering.js', () => []));
  });
});
