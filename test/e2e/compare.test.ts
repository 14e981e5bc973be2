import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { comparedText, comparisonText } from '../../lib/cli/eval-progress.js';
import { writeScenes } from '../../lib/demo/scenes.js';
import { readSuite, suiteNames } from '../../lib/eval/suite.js';
import { align, type Compared, type CompareOptions, type Comparison, compare, evaluate } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';
import { failure } from '../unit/data/images/support.js';

const model = join(packageRoot(), 'configs/demo/clip');
const golden = join(packageRoot(), 'test/golden/eval-tasks');

describe('compare', () => {
  let work: string;
  let options: CompareOptions;
  let comparison: Comparison;
  const events: Compared[] = [];

  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-compare-'));
    await writeScenes(join(work, 'photos'), 16, 1, 64);
    // A few steps that are far too long: another model, worse at some things.
    const teacher = join(packageRoot(), 'configs/demo/dinov2');
    const other = join(work, 'other');
    await align({ student: model, teacher, data: join(work, 'photos'), out: other, steps: 3, batchSize: 8, lr: 3e-3 }).result;
    const suite = `evaluations:
  - { task: zero-shot, data: ${golden}/wds }
  - { task: retrieval, data: ${golden}/retrieval, recall_k: [1, 5] }
  - { task: linear-probe, data: ${golden}/wds, solver: adamw, epochs: 2, seeds: 3 }
averages:
  - { name: both, metric: acc1, datasets: [ "${golden}/wds" ] }
`;
    writeFileSync(join(work, 'suite.yaml'), suite);
    options = { models: [model, other], suite: join(work, 'suite.yaml'), out: join(work, 'out'), cache: join(work, 'cache') };
    const run = compare(options);
    for await (const event of run) if (event.type === 'evaluation') events.push(event.compared);
    comparison = await run.result;
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  it('measures each model as evaluate does', async () => {
    const { cache } = options;
    const data = join(golden, 'wds');
    for (const [m, of] of options.models.entries()) {
      const predictions = join(work, `predictions-${m}.jsonl`);
      const { metrics } = await evaluate({ task: 'zero-shot', model: of, data, cache, predictions }).result;
      expect(comparison.evaluations[0]!.results[m]!.metrics).to.deep.equal(metrics);
      const seeds = await Promise.all(
        [0, 1, 2].map((seed) => evaluate({ task: 'linear-probe', solver: 'adamw', epochs: 2, seed, model: of, data, cache }).result),
      );
      const mean = seeds.reduce((sum, { metrics: found }) => sum + found['lp_acc1']!, 0) / 3;
      expect(comparison.evaluations[2]!.results[m]!.metrics['lp_acc1']).to.be.closeTo(mean, 1e-12);
    }
    expect(comparison.averages).to.deep.equal([
      { name: 'both', metric: 'acc1', values: comparison.evaluations[0]!.results.map(({ metrics }) => metrics['acc1']) },
    ]);
    expect(events).to.deep.equal(comparison.evaluations);
  });

  it('gives differences inside their intervals, and tests accuracies of one seed', () => {
    for (const { results, differences } of comparison.evaluations) {
      expect(differences.length).to.be.greaterThan(2);
      for (const { metric, model: m, estimate, low, high, mcnemar } of differences) {
        expect(m).to.equal(1);
        expect(estimate, metric).to.be.closeTo(results[1]!.metrics[metric]! - results[0]!.metrics[metric]!, 1e-6);
        expect(estimate).to.be.within(low, high);
        expect(mcnemar !== null, metric).to.equal(/^acc|^text/.test(metric));
      }
    }
  });

  it('lists the images that were right and are not, the farthest first', () => {
    const [was, is] = [0, 1].map((m) =>
      readFileSync(join(work, `predictions-${m}.jsonl`), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { image: string; label: number; top5: number[] }),
    );
    const lost = was!.filter(({ label, top5 }, i) => top5[0] === label && is![i]!.top5[0] !== label).map(({ image }) => image);
    const { regressions, differences } = comparison.evaluations[0]!;
    expect(lost).not.to.have.length(0);
    expect(regressions.map(({ image }) => image)).to.have.members(lost);
    const misses = regressions.map(({ miss }) => miss);
    expect(misses).to.deep.equal([...misses].sort((a, b) => b - a));
    expect(differences.find(({ metric }) => metric === 'acc1')!.mcnemar!.onlyA).to.equal(lost.length);
  });

  it('writes what it found, and says it in 80 columns', () => {
    expect(JSON.parse(readFileSync(join(work, 'out/results.json'), 'utf8'))).to.deep.equal(comparison);
    const [head, ...rows] = readFileSync(join(work, 'out/results.csv'), 'utf8').trim().split('\n');
    expect(head).to.equal('dataset,task,metric,model,value,difference,low,high,mcnemar_p');
    expect(rows).to.have.length(2 * (3 + 4 + 3));
    for (const row of rows) expect(row.split(',')).to.have.length(9);
    const tables = comparison.evaluations.map(comparedText).join('\n');
    expect(tables).to.match(/^ {2}acc1 +A 0\.5833\n +B 0\.\d{4} {2}[+-]0\.\d{4} \[[+-]0\.\d{4} [+-]0\.\d{4}\] {2}p [\d.e-]+/m);
    for (const line of tables.split('\n').filter((text) => !text.includes('/'))) expect(line.length, line).to.be.at.most(80);
    expect(comparisonText(comparison)).to.match(/^both: A 0\.5833 {2}B 0\.\d{4}\nA is .*clip\nB is .*other$/);
  });

  it('refuses a suite that it does not understand before it measures', async () => {
    expect(suiteNames()).to.deep.equal(['paper', 'quick']);
    const { evaluations, averages } = await readSuite('paper');
    expect(averages.map(({ datasets }) => datasets.length)).to.deep.equal([11, 12]);
    expect(evaluations.filter(({ seeds }) => seeds.length === 3)).to.have.length(4);
    const refused = async (yaml: string) => {
      writeFileSync(join(work, 'bad.yaml'), yaml);
      return (await failure(compare({ ...options, suite: join(work, 'bad.yaml') }).result)).message;
    };
    expect(await refused('evaluations: []')).to.include('evaluations');
    expect(await refused('evaluations: [{ task: nothing }]')).to.include('evaluations.0.task');
    expect(await refused('evaluations: [{ task: zero-shot, data: x, seeds: 2 }]')).to.include('linear-probe alone');
    expect(await refused('evaluations: [{ task: zero-shot, data: x, templtes: y }]')).to.include('did you mean templates?');
    expect(await refused('evaluations: [{ task: zero-shot, data: x }]\naverages: [{ name: a, metric: b, datasets: [y] }]')).to.include(
      'found y',
    );
    expect((await failure(readSuite('nope'))).message).to.equal(
      'expected a suite of the package (paper, quick) or a YAML file, found no file nope',
    );
    expect(() => compare({ ...options, models: [model] })).to.throw(/expected at least 2 of a list for models/);
  });
});
