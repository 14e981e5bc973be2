import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeScenes } from '../../lib/demo/scenes.js';
import { endAll, models, program, readTrace, said, start } from './support.js';

describe('kuea-align and what it prints to', () => {
  let work: string;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-terminal-'));
    await writeScenes(join(work, 'photos'), 24, 3, 64);
  });
  afterEach(endAll);
  after(() => rmSync(work, { recursive: true, force: true }));

  const path = (...names: string[]) => join(work, ...names);
  const recipe = (out: string, steps = 6) => [
    ...models,
    ...['--data', path('photos'), '--out', path(out), '--batch-size', '8', '--steps', String(steps), '--log-every', '1', '--lr', '1e-4'],
  ];
  const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', timeout: 50_000 });
  const isWhole = (out: string) => existsSync(path(out, 'export/hf/model.safetensors')) && !existsSync(path(out, 'lock'));

  it('a reader that leaves: the run goes on to its end, and says so', async () => {
    const started = start(recipe('head'));
    await said(started, /step 1\/6/);
    started.child.stdout!.destroy();
    expect(await started.ended, started.stderr).to.equal(0);
    expect(started.stderr).to.match(/^stdout has gone \(EPIPE\): the run goes on/);
    expect(readTrace(path('head'))).to.have.length(6);
    expect(isWhole('head')).to.equal(true);
  });

  it('a full disk behind stdout: the run goes on to its end; what only prints has failed', async () => {
    const full = (args: string[]) => {
      const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'] });
      let stderr = '';
      child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      return new Promise<{ code: number | null; stderr: string }>((resolve) => child.on('close', (code) => resolve({ code, stderr })));
    };
    const { code, stderr } = await full(recipe('full'));
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/^stdout has gone \(ENOSPC\): the run goes on.*\n$/);
    expect(isWhole('full')).to.equal(true);
    expect(await full(['--help'])).to.deep.equal({ code: 1, stderr: 'cannot write to stdout (ENOSPC)\n' });
  });

  it('a terminal that is closed: the step is finished and saved', async () => {
    const started = start(recipe('hup', 400));
    await said(started, /step 2\/400/);
    started.child.kill('SIGHUP');
    expect(await started.ended).to.equal(129);
    const steps = readTrace(path('hup')).length;
    expect(readFileSync(path('hup', 'latest'), 'utf8')).to.equal(`checkpoints/step-${String(steps).padStart(6, '0')}\n`);
    expect(started.stdout).to.match(new RegExp(`stopped and saved after step ${steps} `));
  });

  it('several ranks whose terminal is closed save as well', async () => {
    const started = start([...recipe('hups', 400), '--nproc', '2']);
    await said(started, /step 2\/400/);
    started.child.kill('SIGHUP');
    expect(await started.ended, started.stderr).to.equal(129);
    expect(existsSync(path('hups', 'latest'))).to.equal(true);
  });

  it('an error under --json is the last line of JSON, of one process and of several', () => {
    const bad = (...args: string[]) => {
      const { status, stdout, stderr } = run(...recipe('bad'), '--json', ...args);
      const lines = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { type: string; code: string; message: string });
      return { status, stderr, last: lines.at(-1)! };
    };
    const nowhere = bad('--data', path('nowhere'));
    expect(nowhere).to.deep.include({ status: 1, stderr: '' });
    expect(nowhere.last).to.include({ type: 'error' });
    expect(nowhere.last.message).to.include('nowhere');
    const usage = bad('--batch-size', '0');
    expect(usage).to.deep.equal({
      status: 2,
      stderr: '',
      last: { type: 'error', code: 'bad_option', message: 'expected a number above 0 for --batch-size, found 0' },
    });
    const ranks = bad('--nproc', '2', '--data', path('nowhere'));
    expect(ranks.last).to.include({ type: 'error', code: nowhere.last.code });
  });

  it('names of files cannot give orders to the terminal', () => {
    const file = path('\x1b[2Jcleared.pt');
    writeFileSync(file, 'no weights');
    const { status, stderr } = run('--student', file, ...recipe('crafted').slice(2));
    expect(status).to.equal(1);
    expect(stderr).to.include('\\x1b[2Jcleared.pt');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what must not be there
    expect(stderr.trim()).not.to.match(/[\x00-\x1f\x7f-\x9f]/);
  });

  it('a preset whose warm-up is longer than the run says so and trains; a run of no updates is refused', () => {
    const warmed = run(...recipe('warm', 12), '--warmup-steps', '1400', '--json');
    expect(warmed.status, warmed.stderr).to.equal(0);
    expect(warmed.stdout).to.match(/"type":"warning","message":"the warm-up of 1400 updates is cut to 1, since the run has 12 in all/);
    expect(readTrace(path('warm'))[0]).to.include({ lr: 1e-4 });
    const none = run(...recipe('none').map((word) => (word === '--steps' ? '--epochs' : word === '6' ? '0.01' : word)));
    expect(none.status).to.equal(2);
    expect(none.stderr).to.match(/expected at least one update, found 0/);
    expect(existsSync(path('none', 'config.yaml'))).to.equal(false);
  });
});
