import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

import { expect } from 'chai';

import { oneRank } from '../../../lib/distributed/ranks.js';
import { latestCheckpoint, saveCheckpoint } from '../../../lib/run/checkpoints.js';
import { claimInputs } from '../../../lib/run/inputs.js';
import { MetricsFile } from '../../../lib/run/metrics.js';
import { RunFolder } from '../../../lib/run/run-folder.js';
import { differingOptions } from '../../../lib/run/same-config.js';

describe("a run's folder", () => {
  let work: string;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-run-'));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const path = (...names: string[]) => join(work, ...names);
  const free = ['out', 'resume'];
  const options = { lr: 1, data: 'photos', device: 'cuda:0' };
  const open = (change: Record<string, unknown> = {}, parse?: (saved: Record<string, unknown>) => Record<string, unknown>) =>
    RunFolder.open({ ...options, out: path('run'), resume: false, ...change }, free, oneRank, parse);
  const codeOf = (promise: Promise<unknown>) =>
    promise.then(
      () => 'none',
      ({ code }: { code: string }) => code,
    );
  const save = (run: RunFolder, step: number, keep = 2) =>
    saveCheckpoint(run, step, '0', keep, (folder) => writeFile(join(folder, 'weights'), `of step ${step}`));

  /** A run that has a checkpoint. */
  async function begin(): Promise<void> {
    const run = await open();
    await save(run, 1);
    await run.close();
  }

  it('is one run at a time', async () => {
    const run = await open();
    expect(await codeOf(open({ resume: true }))).to.equal('out_in_use');
    await run.close();
    expect(readdirSync(path('run'))).to.deep.equal(['config.yaml']);
    await (await open({ resume: true })).close();
  });

  it('is not begun twice, and resumed with the options it was begun with', async () => {
    await begin();
    expect(await codeOf(open())).to.equal('out_not_empty');
    expect(await codeOf(open({ resume: true, lr: 2 }))).to.equal('resume_mismatch');
    expect(readdirSync(path('run')).filter((name) => name.startsWith('lock'))).to.deep.equal([]);
    await (await open({ resume: true })).close();
    expect(await codeOf(open({ out: path(), resume: true }))).to.equal('nothing_to_resume');
  });

  it('compares what options mean: other spellings of a path, another card, defaults that are new in this version', async () => {
    const now = { ...options, data: relative(process.cwd(), path('photos')), momentum: 0.9 };
    const then = { ...options, data: `${path('photos')}/` };
    expect(differingOptions(then, { ...now, device: 'cuda:1' }, ['momentum'])).to.deep.equal([]);
    expect(differingOptions(then, { ...now, device: 'cpu', data: 'other' }, [])).to.have.length(3);
    await begin();
    expect(await codeOf(open({ resume: true, momentum: 0.9 }))).to.equal('resume_mismatch');
    await (await open({ resume: true, momentum: 0.9 }, (saved) => ({ momentum: 0.9, ...saved }))).close();
  });

  it('without a checkpoint has nothing to compare with: it is begun with the options given', async () => {
    const run = await open();
    await claimInputs(run, { data: 'one' });
    await run.close();
    const again = await open({ resume: true, lr: 2 });
    await claimInputs(again, { data: 'two' });
    await again.close();
    expect(readFileSync(path('run/config.yaml'), 'utf8')).to.match(/^lr: 2$/m);
  });

  describe('after a start that failed', () => {
    async function fail(): Promise<void> {
      const run = await open();
      await claimInputs(run, { data: 'one' });
      const metrics = await MetricsFile.open(run.file('metrics.jsonl'), 0);
      await metrics.write({ step: 1 });
      await metrics.close();
      await mkdir(run.file('cache'));
      await writeFile(run.file('cache', 'embeddings-0.safetensors'), '');
      await mkdir(run.file('checkpoints'));
      await run.abandon();
      await run.close();
    }

    it('is gone when it was made for it', async () => {
      await fail();
      expect(readdirSync(work)).to.deep.equal([]);
      await begin();
    });

    it('is empty when it was there, but for the report of why', async () => {
      mkdirSync(path('run'));
      writeFileSync(path('run/preflight.jsonl'), '{}\n');
      await fail();
      expect(readdirSync(path('run'))).to.deep.equal(['preflight.jsonl']);
      await begin();
    });

    it('keeps what is not of a run, and a run that was there', async () => {
      await begin();
      const before = readdirSync(path('run'), { recursive: true });
      const run = await open({ resume: true });
      await run.abandon();
      await run.close();
      expect(readdirSync(path('run'), { recursive: true })).to.deep.equal(before);
      rmSync(path('run'), { recursive: true });
      const other = await open();
      writeFileSync(other.file('notes.txt'), 'mine');
      await other.abandon();
      await other.close();
      expect(readdirSync(path('run'))).to.deep.equal(['notes.txt']);
    });

    it('keeps what was saved', async () => {
      const run = await open();
      await save(run, 1);
      await run.abandon();
      await run.close();
      expect(existsSync(path('run/checkpoints/step-000001/weights'))).to.equal(true);
    });
  });

  it('is rid of what a killed run left, of a replaced export and of a checkpoint too', async () => {
    await begin();
    const strays = ['.config.yaml.partial-abcdef', 'export/.hf.partial-abcdef', 'checkpoints/.step-000002.partial-abcdef'];
    for (const stray of strays) mkdirSync(path('run', stray), { recursive: true });
    writeFileSync(path('run/latest.partial'), '');
    await (await open({ resume: true })).close();
    expect(readdirSync(path('run'), { recursive: true }).filter((name) => name.includes('partial'))).to.deep.equal([]);
  });

  it('stops a run that has lost it from saving', async () => {
    const run = await open();
    rmSync(path('run', readdirSync(path('run')).find((name) => name.startsWith('lock-'))!));
    expect(await codeOf(save(run, 1))).to.equal('lock_lost');
    expect(await latestCheckpoint(run)).to.equal(null);
    await run.close();
  });

  it('says so where none can be', async () => {
    writeFileSync(path('file'), '');
    expect(await codeOf(open({ out: path('file') }))).to.equal('bad_out');
    if (existsSync('/proc/self')) expect(await codeOf(open({ out: '/proc/run' }))).to.equal('bad_out');
    if (existsSync('/sys/kernel')) expect(await codeOf(open({ out: '/sys/kernel' }))).to.equal('unwritable_file');
  });
});
