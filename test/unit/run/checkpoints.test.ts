import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import fs, { writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { bestCheckpoint, latestCheckpoint, markBest, saveCheckpoint } from '../../../lib/run/checkpoints.js';
import { claimInputs } from '../../../lib/run/inputs.js';
import { MetricsFile } from '../../../lib/run/metrics.js';

describe('checkpoints', () => {
  let work: string;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-checkpoints-'));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const run = () => ({ path: work, file: (...names: string[]) => join(work, ...names), check: async () => {} });
  const save = (step: number, keep = 1) =>
    saveCheckpoint(run(), step, '0', keep, (folder) => writeFile(join(folder, 'weights'), `of step ${step}`));
  const saved = () => readdirSync(join(work, 'checkpoints')).sort();
  const codeOf = (promise: Promise<unknown>) =>
    promise.then(
      () => 'none',
      ({ code }: { code: string }) => code,
    );

  it('keeps the newest ones, and the best', async () => {
    expect(await bestCheckpoint(run())).to.equal(null);
    await save(1);
    await save(2);
    await markBest(run(), 2, 0.25, 1);
    await save(3);
    await save(4);
    expect(saved()).to.deep.equal(['step-000002', 'step-000004']);
    expect(await bestCheckpoint(run())).to.deep.equal({ path: join(work, 'checkpoints/step-000002'), step: 2, metric: 0.25 });
    await markBest(run(), 4, 0.125, 1);
    expect(saved()).to.deep.equal(['step-000004']);
    await save(5);
    expect(saved()).to.deep.equal(['step-000004', 'step-000005']);
    expect(readFileSync(join(work, 'best'), 'utf8')).to.match(/^checkpoints\/step-000004\n/);
    rmSync(join(work, 'checkpoints/step-000004'), { recursive: true });
    expect(await bestCheckpoint(run())).to.equal(null);
  });

  it('an old one that cannot be removed is a warning', async () => {
    await save(1);
    const { rename } = fs;
    fs.rename = (from, to) =>
      String(from).endsWith('step-000001') ? Promise.reject(Object.assign(new Error('busy'), { code: 'EBUSY' })) : rename(from, to);
    syncBuiltinESMExports();
    try {
      const { step, warning } = await save(2);
      expect(step).to.equal(2);
      expect(warning).to.match(/old checkpoint of step 1 \(busy\)/);
    } finally {
      fs.rename = rename;
      syncBuiltinESMExports();
    }
    expect(await save(3)).not.to.have.property('warning');
    expect(saved()).to.deep.equal(['step-000003']);
  });

  it('one that is damaged is said to be', async () => {
    await save(1, 2);
    await save(2, 2);
    writeFileSync(join(work, 'checkpoints/step-000002/state.json'), '{"step": 2');
    expect(await codeOf(latestCheckpoint(run()))).to.equal('bad_checkpoint');
    writeFileSync(join(work, 'checkpoints/step-000002/state.json'), '{"step":\r\u0008x}');
    const told = await latestCheckpoint(run()).then(String, (error: Error) => error.message);
    expect(told).to.match(/^the checkpoint .* is damaged \([^\r\n]+\): remove it to resume from the one before$/);
    rmSync(join(work, 'checkpoints/step-000002'), { recursive: true });
    expect((await latestCheckpoint(run()))?.step).to.equal(1);
  });

  it('that cannot be listed are not taken for none', async () => {
    writeFileSync(join(work, 'checkpoints'), '');
    expect(await codeOf(latestCheckpoint(run()))).to.equal('bad_checkpoint');
  });

  it('one that fails leaves the ones before, and nothing of itself', async () => {
    await save(1);
    const failing = saveCheckpoint(run(), 2, '0', 1, async (folder) => {
      mkdirSync(join(folder, 'adapter'));
      throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    });
    expect(await codeOf(failing)).to.equal('disk_full');
    expect(saved()).to.deep.equal(['step-000001']);
  });
});

describe('metrics.jsonl', () => {
  it('has a time a line, and loses the lines of later steps and torn ones', async () => {
    const work = mkdtempSync(join(tmpdir(), 'kuea-metrics-'));
    try {
      const file = join(work, 'metrics.jsonl');
      const before = Date.now();
      const metrics = await MetricsFile.open(file, 0);
      for (const step of [1, 2, 3]) await metrics.write({ step });
      await metrics.close();
      writeFileSync(file, '{"step":4,"ti', { flag: 'a' });
      await (await MetricsFile.open(file, 2)).close();
      const lines = readFileSync(file, 'utf8').trim().split('\n');
      const read = lines.map((line) => JSON.parse(line) as { step: number; time: string });
      expect(read.map(({ step }) => step)).to.deep.equal([1, 2]);
      for (const { time } of read) {
        expect(time).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        expect(Date.parse(time)).to.be.within(before, Date.now());
      }
    } finally {
      rmSync(work, { recursive: true });
    }
  });
});

describe("a run's inputs", () => {
  let work: string;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-inputs-'));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const claim = (fingerprints: Record<string, string>) =>
    claimInputs({ path: work, file: (...names) => join(work, ...names) }, fingerprints).then(
      () => 'none',
      ({ code }: { code: string }) => code,
    );

  it('are compared', async () => {
    expect(await claim({ data: 'a', effectiveBatch: '8' })).to.equal('none');
    expect(await claim({ data: 'a', effectiveBatch: '8' })).to.equal('none');
    expect(await claim({ data: 'b', effectiveBatch: '8' })).to.equal('resume_mismatch');
    expect(await claim({ data: 'a', effectiveBatch: '9' })).to.equal('resume_mismatch');
  });

  it('that an older version did not keep are kept from then on', async () => {
    expect(await claim({ data: 'a' })).to.equal('none');
    expect(await claim({ data: 'a', student: 's', effectiveBatch: '8' })).to.equal('none');
    expect(await claim({ data: 'a', student: 'other' })).to.equal('resume_mismatch');
  });

  it('of a damaged file are an error with a code', async () => {
    const deep = `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
    for (const text of ['', '{', '[]', 'null', '3', deep]) {
      writeFileSync(join(work, 'inputs.json'), text);
      expect(await claim({ data: 'a' }), text.slice(0, 9)).to.equal('bad_inputs');
    }
  });
});
