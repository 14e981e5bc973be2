import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { oneRank } from '../../../lib/distributed/ranks.js';
import { isUnfinished } from '../../../lib/files/atomic.js';
import { replaceWhole } from '../../../lib/files/output.js';
import { bestCheckpoint, latestCheckpoint, markBest, saveCheckpoint } from '../../../lib/run/checkpoints.js';
import { claimInputs } from '../../../lib/run/inputs.js';
import { MetricsFile } from '../../../lib/run/metrics.js';
import { RunFolder } from '../../../lib/run/run-folder.js';
import { Disk, plant } from '../files/disk.js';

/** Where files cost least: nothing here depends on the disk. */
const place = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const config = (out: string, resume = false) => ({ out, resume, lr: 1 });
const fingerprints = { data: 'photos' };

/** A checkpoint's parts, none of them synced by who writes them. */
async function writeParts(folder: string, content: string): Promise<void> {
  await mkdir(join(folder, 'adapter'));
  await writeFile(join(folder, 'adapter', 'weights'), `weights ${content}`);
  await writeFile(join(folder, 'moments'), `moments ${content}`);
}

function readParts(folder: string): string[] {
  return [join(folder, 'adapter', 'weights'), join(folder, 'moments')].map((file) => readFileSync(file, 'utf8'));
}

async function writeExport(out: string, content: string): Promise<void> {
  await replaceWhole(out, async (made) => {
    await mkdir(made);
    await writeFile(join(made, 'model'), `model ${content}`);
    await writeFile(join(made, 'config.json'), `config ${content}`);
  });
}

const readExport = (out: string) => ['model', 'config.json'].map((name) => readFileSync(join(out, name), 'utf8'));

/** After a power cut the process of a lock is gone, which in this test is the one that looks. */
function buryOwners(out: string): void {
  const locks = existsSync(out) ? readdirSync(out).filter((name) => name.startsWith('lock-')) : [];
  for (const file of locks.map((name) => join(out, name))) {
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace(/"pid":\d+/, '"pid":99999999'));
  }
}

describe('a power cut', () => {
  let work: string;
  beforeEach(() => {
    work = mkdtempSync(join(place, 'kuea-power-'));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  /** Records `program`, then opens each state that a cut may leave. Returns how many there were. */
  async function eachState(
    program: (out: string, disk: Disk) => Promise<void>,
    look: (out: string, marks: string[]) => Promise<void>,
  ): Promise<number> {
    const disk = new Disk(work);
    try {
      await program(join(work, 'run'), disk);
    } finally {
      disk.end();
    }
    let count = 0;
    for (const { tree, marks } of disk.states(64)) {
      const planted = join(work, `state-${count++}`);
      plant(tree, planted);
      buryOwners(join(planted, 'run'));
      try {
        await look(join(planted, 'run'), marks);
      } catch (error) {
        throw new Error(`after ${marks.join(', ') || 'nothing'}: ${(error as Error).stack}\n${JSON.stringify(tree, null, 1)}`);
      }
      rmSync(planted, { recursive: true });
    }
    return count;
  }

  it('leaves a checkpoint whole or absent, never an older one than was saved, and the lines of its steps', async () => {
    const program = async (out: string, disk: Disk) => {
      const run = await RunFolder.open(config(out), [], oneRank, (saved) => saved);
      await claimInputs(run, fingerprints);
      const metrics = await MetricsFile.open(run.file('metrics.jsonl'), 0);
      for (const step of [1, 2, 3]) {
        await metrics.write({ step });
        await saveCheckpoint(run, step, '0', 1, (folder) => writeParts(folder, `of step ${step}`));
        disk.mark(`${step}`);
        if (step === 1) await markBest(run, step, 0.5, 1);
        if (step === 1) disk.mark('best');
      }
      await metrics.close();
      await run.close();
    };
    const count = await eachState(program, async (out, marks) => {
      const run = await RunFolder.open(config(out, true), ['resume', 'out'], oneRank, (saved) => saved);
      const saved = Math.max(0, ...marks.filter((mark) => mark !== 'best').map(Number));
      const found = await latestCheckpoint(run);
      expect(found?.step ?? 0).to.be.within(saved, 3);
      if (found) expect(readParts(found.path)).to.deep.equal([`weights of step ${found.step}`, `moments of step ${found.step}`]);
      for (const name of existsSync(run.file('checkpoints')) ? readdirSync(run.file('checkpoints')) : []) {
        const step = Number(name.slice('step-'.length));
        expect(readParts(run.file('checkpoints', name)), name).to.deep.equal([`weights of step ${step}`, `moments of step ${step}`]);
      }
      const best = await bestCheckpoint(run);
      if (marks.includes('best')) expect(best).to.include({ step: 1, metric: 0.5 });
      await claimInputs(run, fingerprints);
      await (await MetricsFile.open(run.file('metrics.jsonl'), found?.step ?? 0)).close();
      const lines = readFileSync(run.file('metrics.jsonl'), 'utf8').split('\n').filter(Boolean);
      const steps = lines.map((line) => (JSON.parse(line) as { step: number }).step);
      expect(steps).to.deep.equal([1, 2, 3].slice(0, found?.step ?? 0));
      await run.close();
      const left = readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((name) => isUnfinished(name) || /lock/.test(name));
      expect(left).to.deep.equal([]);
    });
    expect(count).to.be.greaterThan(300);
  });

  it('leaves an export as it was, or whole and new', async () => {
    const program = async (out: string, disk: Disk) => {
      const run = await RunFolder.open(config(out), [], oneRank, (saved) => saved);
      await saveCheckpoint(run, 1, '0', 1, (folder) => writeParts(folder, 'of step 1'));
      for (const content of ['first', 'second']) {
        await writeExport(run.file('export', 'hf'), content);
        disk.mark(content);
      }
      await run.close();
    };
    const count = await eachState(program, async (out, marks) => {
      const run = await RunFolder.open(config(out, true), ['resume', 'out'], oneRank, (saved) => saved);
      const exported = run.file('export', 'hf');
      if (existsSync(exported)) {
        const [model] = readExport(exported);
        expect(model).to.be.oneOf(marks.includes('second') ? ['model second'] : ['model first', 'model second']);
        expect(readExport(exported)).to.deep.equal([model, model!.replace('model', 'config')]);
      } else {
        expect(marks).to.deep.equal([]);
      }
      await run.close();
      if (existsSync(run.file('export'))) expect(readdirSync(run.file('export')).filter(isUnfinished)).to.deep.equal([]);
    });
    expect(count).to.be.greaterThan(100);
  });
});
