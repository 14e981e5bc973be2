import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeScenes } from '../../lib/demo/scenes.js';
import { type AlignEvent, type AlignOptions, align, evaluate } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';
import { bestCheckpoint } from '../../lib/run/checkpoints.js';
import { failure } from '../unit/data/images/support.js';

const student = join(packageRoot(), 'configs/demo/clip');
const teacher = join(packageRoot(), 'configs/demo/dinov2');
const wds = join(packageRoot(), 'test/golden/eval-tasks/wds');

describe('an alignment that is measured while it trains', () => {
  let work: string;
  let common: AlignOptions;
  let runs = 0;

  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-judged-'));
    await writeScenes(join(work, 'photos'), 16, 1, 64);
    writeFileSync(join(work, 'suite.yaml'), `evaluations: [{ task: zero-shot, data: ${wds} }]\n`);
    process.env['KUEA_CACHE'] = join(work, 'cache');
    common = { student, teacher, data: join(work, 'photos'), out: '', steps: 6, batchSize: 8, lr: 3e-3, logEvery: 1, saveEvery: 3 };
  });
  after(() => {
    delete process.env['KUEA_CACHE'];
    rmSync(work, { recursive: true, force: true });
  });

  async function run(options: Partial<AlignOptions>) {
    const out = options.out ?? join(work, `run-${runs++}`);
    const events: AlignEvent[] = [];
    for await (const event of align({ ...common, ...options, out })) events.push(event);
    const only = <T extends AlignEvent['type']>(type: T) =>
      events.filter((event): event is Extract<AlignEvent, { type: T }> => event.type === type);
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown> & { step: number });
    return { out, only, lines };
  }
  const judged = () => ({ eval: join(work, 'suite.yaml'), evalEvery: 2, best: 'zero_shot_acc1', keepCheckpoints: 1 });

  it('has its curve, keeps the best checkpoint, says what it forgets, and trains what it would have trained', async () => {
    const [plain, { out, only, lines }] = [await run({}), await run(judged())];
    expect(only('step').map(({ loss }) => loss)).to.deep.equal(plain.only('step').map(({ loss }) => loss));

    const curve = only('evaluation').map(({ step, evaluation }) => ({ step, acc1: evaluation['zero_shot_acc1']! }));
    expect(curve.map(({ step }) => step)).to.deep.equal([0, 2, 4, 6]);
    expect(lines.filter(({ evaluation }) => evaluation).map(({ step }) => step)).to.deep.equal([0, 2, 4, 6]);
    const { metrics } = await evaluate({ task: 'zero-shot', model: student, data: wds }).result;
    expect(curve[0]!.acc1).to.equal(metrics['acc1']);
    expect(only('evaluation')[0]!.sets).to.deep.equal({
      [wds]: Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`zero_shot_${name}`, value])),
    });
    const last = await evaluate({ task: 'zero-shot', model: join(out, 'export/hf'), data: wds, cache: 'off' }).result;
    expect(curve[3]!.acc1).to.equal(last.metrics['acc1']);

    const best = (await bestCheckpoint({ file: (...parts: string[]) => join(out, ...parts) }))!;
    expect(best.metric).to.equal(Math.max(...curve.slice(1).map(({ acc1 }) => acc1)));
    expect(best.step).to.equal(curve.slice(1).find(({ acc1 }) => acc1 === best.metric)!.step);
    expect(readdirSync(join(out, 'checkpoints')).filter((name) => name.startsWith('step-'))).to.have.members(
      [...new Set([best.step, 6])].map((step) => `step-00000${step}`),
    );
    expect(existsSync(join(out, 'evaluation'))).to.equal(false);
    const told = only('warning').filter(({ message }) => message.startsWith('forgetting: '));
    expect(told).not.to.have.length(0);
    expect(told.at(-1)!.message).to.match(/fell from 0\.5833 to 0\.\d{4} \(95 % interval of the difference -0\.\d{4} to -0\.\d{4}\)/);
  });

  it('goes on measuring when it is resumed', async () => {
    const far = { ...judged(), lr: 1e-2 };
    const { out } = await run({ ...far, steps: 4 });
    const resumed = await run({ ...far, out, steps: 6, extend: true });
    expect(resumed.only('evaluation').map(({ step }) => step)).to.deep.equal([6]);
    expect(resumed.lines.filter(({ evaluation }) => evaluation).map(({ step }) => step)).to.deep.equal([0, 2, 4, 6]);
    expect(resumed.only('warning').some(({ message }) => message.startsWith('forgetting: '))).to.equal(true);
  });

  it('measures before and after alone unless told otherwise', async () => {
    const { only } = await run({ eval: join(work, 'suite.yaml'), steps: 2 });
    expect(only('evaluation').map(({ step }) => step)).to.deep.equal([0, 2]);
  });

  it('refuses a metric that the suite has not got, and one without a suite', async () => {
    expect((await failure(run({ ...judged(), best: 'acc9' }))).message).to.match(/for best, found acc9: there are zero_shot_acc1, /);
    expect((await failure(run({ best: 'zero_shot_acc1' }))).message).to.include('expected eval with best');
  });
});
