import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import { expect } from 'chai';

import { writeScenes } from '../../lib/demo/scenes.js';
import { program as alignProgram, endAll, models, root, type Started, start } from './support.js';

const program = join(root, 'dist/lib/cli/kuea-eval.cjs');
const golden = join(root, 'test/golden/eval-tasks');
const expected = JSON.parse(readFileSync(join(golden, 'expected.json'), 'utf8')) as { zero_shot: { metrics: Record<string, number> } };

describe('kuea-eval', () => {
  let work: string;
  beforeEach(() => (work = mkdtempSync(join(tmpdir(), 'kuea-eval-'))));
  afterEach(() => {
    endAll();
    rmSync(work, { recursive: true, force: true });
  });

  const zeroShot = (...more: string[]): Started => {
    const args = ['--model', join(root, 'configs/demo/clip'), '--data', join(golden, 'wds'), '--cache', join(work, 'cache')];
    return start(['zero-shot', ...args, '--json', join(work, 'result.json'), ...more], {}, program);
  };

  /** Images whose features the cache has: a row's checksum is 0 until it is there, and checksums come last in the file. */
  function present(): number {
    const folder = join(work, 'cache');
    const name = existsSync(folder) && readdirSync(folder).find((file) => file.endsWith('.safetensors'));
    if (!name) return 0;
    const checksums = readFileSync(join(folder, name)).subarray(-4 * 24);
    return Array.from({ length: 24 }, (_, i) => checksums.readUInt32LE(4 * i)).filter((checksum) => checksum !== 0).length;
  }

  async function expectResult(run: Started): Promise<void> {
    expect(await run.ended, run.stderr).to.equal(0);
    const { metrics, n } = JSON.parse(readFileSync(join(work, 'result.json'), 'utf8')) as { metrics: Record<string, number>; n: number };
    expect(n).to.equal(24);
    for (const [name, value] of Object.entries(expected.zero_shot.metrics)) expect(metrics[name], name).to.be.closeTo(value, 1e-6);
  }

  it('says what it found, once, whatever the number of ranks', async () => {
    const run = zeroShot('--nproc', '2', '--batch-size', '5');
    await expectResult(run);
    expect(run.stdout.match(/acc1 +0\.5833$/gm), run.stdout).to.have.length(1);
  });

  it('goes on after kill -9 with what was embedded', async () => {
    const killed = zeroShot('--batch-size', '1');
    while (present() < 3) await setTimeout(2);
    process.kill(-killed.pid, 'SIGKILL');
    await killed.ended;
    expect(present()).to.be.within(3, 23);
    await expectResult(zeroShot());
    expect(present()).to.equal(24);
  });

  it('measures a training of two ranks as that of one, at its steps', async () => {
    await writeScenes(join(work, 'photos'), 16, 1, 64);
    writeFileSync(join(work, 'suite.yaml'), `evaluations: [{ task: zero-shot, data: ${golden}/wds }]\n`);
    const measured = [];
    for (const ranks of ['1', '2']) {
      const out = join(work, `run-${ranks}`);
      const run = `--data ${work}/photos --out ${out} --steps 4 --batch-size 8 --eval ${work}/suite.yaml --eval-every 2 --nproc ${ranks}`;
      const started = start([...models, ...run.split(' ')], { KUEA_CACHE: join(work, `cache-${ranks}`) }, alignProgram);
      expect(await started.ended, started.stderr).to.equal(0);
      expect(started.stdout).to.match(/^after step 0: zero_shot_acc1 0\.5833$/m);
      const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
      const found = lines.map((line) => JSON.parse(line) as { step: number; evaluation?: object });
      measured.push(found.filter(({ evaluation }) => evaluation).map(({ step, evaluation }) => ({ step, evaluation })));
    }
    expect(measured[0]!.map(({ step }) => step)).to.deep.equal([0, 2, 4]);
    expect(measured[1]).to.deep.equal(measured[0]);
  });

  it('names the model that it does not find, and shows its commands', async () => {
    const wrong = start(['zero-shot', '--model', 'nowhere/at-all/here', '--data', golden], {}, program);
    expect(await wrong.ended).to.equal(1);
    expect(wrong.stderr).to.match(/^kuea-eval: expected a model .*nowhere/m);
    const help = start(['--help'], {}, program);
    expect(await help.ended).to.equal(0);
    for (const task of ['zero-shot', 'retrieval', 'linear-probe']) expect(help.stdout).to.include(task);
  });
});
