import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeScenes } from '../../lib/demo/scenes.js';
import { endAll, models, program, readTrace, root, type Started, said, start } from './support.js';

describe('kuea-align as a process', () => {
  let work: string;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-process-'));
    await writeScenes(join(work, 'photos'), 40, 3, 64);
  });
  afterEach(endAll);
  after(() => rmSync(work, { recursive: true, force: true }));

  const path = (...names: string[]) => join(work, ...names);
  // Two epochs in an order of its own each, with gamma and c in training.
  const recipe = (out: string) => [
    ...models,
    '--data',
    path('photos'),
    '--out',
    path(out),
    '--batch-size',
    '8',
    '--epochs',
    '4',
    '--save-every',
    '3',
    '--log-every',
    '1',
    '--lr',
    '1e-4',
    '--w',
    '100',
  ];
  const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', timeout: 50_000 });

  /** Starts a run and resolves once its output matches. */
  async function startUntil(pattern: RegExp, args: string[]): Promise<Started> {
    const started = start(args);
    await said(started, pattern);
    return started;
  }

  const trace = (out: string) => readTrace(path(out));
  const weights = (out: string) => readFileSync(path(out, 'export/hf/model.safetensors'));

  function same(out: string): void {
    expect(trace(out)).to.deep.equal(trace('whole'));
    expect(Buffer.compare(weights(out), weights('whole')), 'weights').to.equal(0);
  }

  it('runs to its end', () => {
    const { status, stderr, stdout } = run(...recipe('whole'));
    expect(status, stderr).to.equal(0);
    expect(stdout).to.include('done after step 20');
    expect(trace('whole')).to.have.length(20);
    expect(readdirSync(path('whole', 'checkpoints'))).to.deep.equal(['step-000018', 'step-000020']);
    expect(existsSync(path('whole', 'lock'))).to.equal(false);
  });

  for (const moment of ['step 2/20', 'step 7/20', 'step 19/20']) {
    it(`killed after ${moment}, it resumes to the same bits`, async () => {
      const out = `killed-${moment.slice(5, 7).trim().replace('/', '')}`;
      const { child, ended } = await startUntil(new RegExp(moment), recipe(out));
      child.kill('SIGKILL');
      expect(await ended).to.equal('SIGKILL');
      const { status, stderr } = run(...recipe(out), '--resume');
      expect(status, stderr).to.equal(0);
      same(out);
    });
  }

  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    it(`${signal} finishes the step, saves, exits with ${code}, and resumes to the same bits`, async () => {
      const { child, ended } = await startUntil(/step 4\/20/, recipe(signal));
      child.kill(signal);
      expect(await ended).to.equal(code);
      const steps = trace(signal).length;
      expect(steps).to.be.within(4, 19);
      expect(readFileSync(path(signal, 'latest'), 'utf8')).to.equal(`checkpoints/step-${String(steps).padStart(6, '0')}\n`);
      expect(run(...recipe(signal), '--resume').status).to.equal(0);
      same(signal);
    });
  }

  it('a loss that is no number stops the run with the step named and the checkpoint kept', () => {
    const args = recipe('diverged').map((word) => (word === '1e-4' ? '1e18' : word));
    const { status, stderr } = run(...args, '--save-every', '1');
    expect(status).to.equal(1);
    expect(stderr).to.match(/^kuea-align: step \d+: .*the checkpoint of step \d+ is kept|there is no checkpoint yet/);
    expect(stderr.trim().split('\n')).to.have.length(1);
  });

  it('two runs in one folder: the second is refused', async () => {
    const { child, ended } = await startUntil(/step 1\/20/, recipe('busy'));
    // It would be at its end before the second has begun.
    child.kill('SIGSTOP');
    const { status, stderr } = run(...recipe('busy'), '--resume');
    child.kill('SIGKILL');
    await ended;
    expect(status).to.equal(1);
    expect(stderr).to.match(new RegExp(`in use by process ${child.pid} .*choose another --out`));
  });

  it('a folder with a run in it, without --resume: refused; with other options: refused, naming them', () => {
    expect(run(...recipe('whole')).stderr).to.match(/expected a new or empty folder for the run, found .*--resume/);
    expect(run(...recipe('whole'), '--resume', '--w', '3', '--kernel', 'cosine').stderr).to.match(
      /found others: w \(100 then, 3 now\), kernel \("polynomial" then, "cosine" now\)/,
    );
  });

  it('--dry-run makes nothing, --json prints nothing but JSON', () => {
    const { status, stdout } = run(...recipe('dry'), '--dry-run');
    expect(status).to.equal(0);
    expect(stdout).to.match(/^student .*\n(.*\n)+run /);
    expect(existsSync(path('dry'))).to.equal(false);
    const events = run(...recipe('json'), '--json')
      .stdout.trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect([...new Set(events)]).to.deep.equal(['phase', 'start', 'cache', 'step', 'checkpoint', 'export', 'done']);
  });

  it('a cache is reused for another w, and made anew, with the reason, for another precision', () => {
    const cached = (out: string, ...more: string[]) => {
      const lines = run(...recipe(out), '--cache', path('shared'), '--json', ...more)
        .stdout.trim()
        .split('\n');
      return lines
        .map((line) => JSON.parse(line) as { type: string; present: number; images: number; rebuilt?: string })
        .find(({ type }) => type === 'cache')!;
    };
    expect(cached('cache-1')).to.include({ present: 0, images: 40 });
    expect(cached('cache-2', '--w', '5')).to.include({ present: 40, images: 40 });
    expect(cached('cache-3', '--precision', 'bf16').rebuilt).to.match(/precision fp32, this run has bf16/);
    expect(cached('cache-4', '--w', '6'), 'the other lies beside it').to.include({ present: 40, images: 40 });
  });

  it('two runs at once fill one cache, and compute what one alone does', async () => {
    const outs = ['together-1', 'together-2'];
    const both = outs.map((out) => start([...recipe(out), '--cache', path('together')]));
    expect(await Promise.all(both.map(({ ended }) => ended))).to.deep.equal([0, 0]);
    outs.forEach(same);
    expect(readdirSync(path('together'))).to.have.length(1);
  });

  it('undecodable images are left out and listed; too many end the run', () => {
    mkdirSync(path('mixed'));
    for (const name of readdirSync(path('photos')).filter((n) => /\.(jpg|png)$/.test(n)))
      copyFileSync(path('photos', name), path('mixed', name));
    writeFileSync(path('mixed', 'text.jpg'), 'this is no image');
    const [first] = readdirSync(path('photos')).filter((n) => n.endsWith('.jpg'));
    writeFileSync(path('mixed', 'truncated.jpg'), readFileSync(path('photos', first!)).subarray(0, 700));
    const args = recipe('skipping').map((word) => (word === path('photos') ? path('mixed') : word));
    const { status, stdout, stderr } = run(...args);
    expect(status, stderr).to.equal(0);
    expect(stdout).to.include('2 undecodable images skipped');
    const listed = readFileSync(path('skipping', 'skipped.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { name: string }).name);
    expect(listed.sort()).to.deep.equal(['text.jpg', 'truncated.jpg']);
    const strict = run(...args.map((word) => (word === path('skipping') ? path('strict') : word)), '--max-skipped', '1');
    expect(strict.status).to.equal(1);
    expect(strict.stderr).to.match(/^kuea-align: .*1.*\n$/);
  });

  it('a full disk while saving: one sentence, the checkpoint before intact, and the run goes on when there is room', function () {
    const small = path('small');
    mkdirSync(small);
    const mounted = process.getuid?.() === 0 && spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=22m', 'tmpfs', small]).status === 0;
    if (!mounted) {
      console.log('      skipped: mounting a small file system needs root');
      return this.skip();
    }
    try {
      const args = recipe(join('small', 'run'));
      const ballast = path('small', 'ballast');
      writeFileSync(ballast, Buffer.alloc(1 << 20));
      const { status, stderr } = run(...args, '--keep-checkpoints', '9', '--cache', path('small-cache'));
      expect(status).to.equal(1);
      expect(stderr).to.match(/^kuea-align: (step \d+: )?the disk is full while writing .*--resume.*\n$/);
      const saved = readdirSync(path('small/run/checkpoints'));
      expect(saved.length).to.be.at.least(1);
      expect(
        saved.every((name) => /^step-\d{6}$/.test(name)),
        saved.join(),
      ).to.equal(true);
      expect(spawnSync('mount', ['-o', 'remount,size=200m', small]).status).to.equal(0);
      expect(run(...args, '--keep-checkpoints', '9', '--cache', path('small-cache'), '--resume').status).to.equal(0);
      same(join('small', 'run'));
    } finally {
      spawnSync('umount', ['-l', small]);
    }
  });

  it('bad input is one sentence and exit code 1, a bad flag 2', () => {
    mkdirSync(path('empty'));
    const data = (ref: string) => recipe('bad').map((word) => (word === path('photos') ? ref : word));
    const cases: [args: string[], status: number, expected: RegExp][] = [
      [data(path('nowhere')), 1, /nowhere/],
      [data(path('empty')), 1, /empty/],
      [['--student', join(root, 'configs/demo/dinov2'), ...recipe('bad').slice(2)], 1, /expected a CLIP for the student, found a DINOv2/],
      [[...recipe('bad'), '--teacher', join(root, 'configs/demo/clip')], 1, /expected a DINOv2 for the teacher, found a CLIP/],
      [[...recipe('bad'), '--bach-size', '3'], 2, /unknown option --bach-size: did you mean --batch-size\?/],
      [[...recipe('bad'), '--set', 'weight_decai=1'], 2, /unknown option --weight-decai: did you mean --weight-decay\?/],
      [[...recipe('bad'), '--batch-size', 'many'], 2, /expected a number for --batch-size, found "many"/],
      [[...recipe('bad'), '--steps', '3'], 2, /expected --steps or --epochs, found both/],
      [[...recipe('bad'), '--batch-size', '64'], 1, /expected at least one batch of 64 images, found 40/],
      [['--preset', 'vit-b-17', '--data', 'x', '--out', path('bad')], 2, /did you mean vit-b-16\?/],
    ];
    for (const [args, status, expected] of cases) {
      const result = run(...args);
      expect(result.stderr).to.match(expected);
      expect(result.stderr.trim().split('\n'), result.stderr).to.have.length(1);
      expect(result.status, result.stderr).to.equal(status);
      expect(existsSync(path('bad', 'config.yaml')), 'a run was begun').to.equal(false);
    }
  });
});
