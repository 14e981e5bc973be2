import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeScenes } from '../../lib/demo/scenes.js';
import { freePort } from '../../lib/distributed/launch.js';
import { endAll, models, readTrace, type Started, said, start } from './support.js';

describe('kuea-align on several ranks', () => {
  let work: string;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-ranks-'));
    await writeScenes(join(work, 'photos'), 40, 3, 64);
  });
  afterEach(endAll);
  after(() => rmSync(work, { recursive: true, force: true }));

  const path = (...names: string[]) => join(work, ...names);
  const steps = 40;
  const options = (out: string) => [
    ...models,
    '--data',
    path('photos'),
    '--out',
    path(out),
    '--batch-size',
    '8',
    '--steps',
    String(steps),
    '--save-every',
    '3',
    '--log-every',
    '1',
    '--w',
    '100',
  ];
  const launched = (out: string, ...more: string[]) => start([...options(out), '--nproc', '2', ...more]);
  const step4 = /step 4\/40/;

  /** Processes of the ranks that a launcher has started, in their order. */
  const ranksOf = ({ pid }: Started) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  /** Whether a process runs; one that only waits to be reaped does not. */
  const runs = (pid: number) => existsSync(`/proc/${pid}/stat`) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  async function gone(pids: number[]): Promise<void> {
    for (let i = 0; i < 50 && pids.some(runs); i++) await pause(100);
    expect(pids.filter(runs), 'orphans').to.deep.equal([]);
  }

  /** The run goes on from its last checkpoint and comes to the same numbers as one that nothing stopped. */
  async function goesOn(out: string): Promise<void> {
    const resumed = launched(out, '--resume');
    expect(await resumed.ended, resumed.stderr).to.equal(0);
    expect(resumed.stdout).to.match(/resumed after step \d+/);
    expect(readTrace(path(out))).to.deep.equal(readTrace(path('both')));
  }

  const oneLine = (started: Started, pattern: RegExp) => {
    expect(started.stderr).to.match(pattern);
    expect(started.stderr.trim().split('\n'), started.stderr).to.have.length(1);
  };

  it('trains the same model as one process, rank 0 alone writing', async () => {
    const alone = start(options('alone'));
    expect(await alone.ended, alone.stderr).to.equal(0);
    const both = launched('both');
    expect(await both.ended, both.stderr).to.equal(0);
    expect(both.stderr).to.equal('');
    expect(both.stdout).to.match(/^40 images, 40 steps of 8 on 2 ranks;.*\n(.*\n)+done after step 40 in/);
    expect(both.stdout.match(/^step /gm)).to.have.length(steps);
    const expected = readTrace(path('alone'));
    readTrace(path('both')).forEach((line, i) =>
      expect(line['loss'], `step ${i + 1}`).to.be.closeTo(expected[i]!['loss']!, 1e-4 * expected[i]!['loss']!),
    );
    expect(readdirSync(path('both')).sort()).to.deep.equal(readdirSync(path('alone')).sort());
  });

  it('--json prints the events of rank 0 and nothing else; --dry-run shows the ranks and starts none', async () => {
    const json = launched('json', '--json');
    expect(await json.ended, json.stderr).to.equal(0);
    const events = json.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect(events.filter((type) => type === 'step')).to.have.length(steps);
    const dry = start([...options('dry'), '--nproc', '3', '--nnodes', '2', '--master-addr', '10.0.0.1', '--batch-size', '20', '--dry-run']);
    expect(await dry.ended, dry.stderr).to.equal(0);
    expect(dry.stdout).to.match(/^ranks +6, 3 or 4 images each$/m);
    expect(existsSync(path('dry'))).to.equal(false);
  });

  for (const victim of [0, 1]) {
    it(`ends when rank ${victim} is killed, naming it, and goes on from its last checkpoint`, async () => {
      const out = `killed-${victim}`;
      const run = launched(out);
      await said(run, step4);
      const ranks = ranksOf(run);
      process.kill(ranks[victim]!, 'SIGKILL');
      expect(await run.ended).to.equal(1);
      oneLine(
        run,
        new RegExp(
          `^kuea-align: rank ${victim}: process ${ranks[victim]} was killed by SIGKILL at step \\d+: .*; the last checkpoint is kept\n$`,
        ),
      );
      await gone(ranks);
      await goesOn(out);
    });

    it(`ends when rank ${victim} is stopped, naming it`, async () => {
      const out = `stopped-${victim}`;
      const run = launched(out, '--watchdog', '3');
      await said(run, step4);
      const ranks = ranksOf(run);
      process.kill(ranks[victim]!, 'SIGSTOP');
      expect(await run.ended).to.equal(1);
      oneLine(run, new RegExp(`^kuea-align: rank ${victim}: process ${ranks[victim]} gave no sign of life for 3 s at step \\d+: .*\n$`));
      await gone(ranks);
      await goesOn(out);
    });
  }

  // A terminal sends Ctrl-C to every process of the job, `kill` to the launcher alone.
  for (const [signal, code, whole] of [
    ['SIGINT', 130, true],
    ['SIGINT', 130, false],
    ['SIGTERM', 143, false],
  ] as const) {
    it(`${signal} ${whole ? 'to the job' : 'to the launcher'}: all ranks finish the step and save, exit code ${code}`, async () => {
      const out = `${signal}-${whole}`;
      const run = launched(out);
      await said(run, step4);
      const ranks = ranksOf(run);
      process.kill(whole ? -run.pid : run.pid, signal);
      expect(await run.ended).to.equal(code);
      const last = readTrace(path(out)).length;
      expect(run.stdout).to.include(`stopped and saved after step ${last} in`);
      expect(readFileSync(path(out, 'latest'), 'utf8')).to.equal(`checkpoints/step-${String(last).padStart(6, '0')}\n`);
      await gone(ranks);
      await goesOn(out);
    });
  }

  it('Ctrl-C twice ends it at once', async () => {
    const run = launched('twice');
    await said(run, step4);
    const ranks = ranksOf(run);
    // It cannot finish its step.
    process.kill(ranks[1]!, 'SIGSTOP');
    process.kill(-run.pid, 'SIGINT');
    await said(run, /once more to stop at once/);
    process.kill(-run.pid, 'SIGINT');
    expect(await run.ended).to.equal(130);
    await gone(ranks);
    await goesOn('twice');
  });

  it('no rank outlives its launcher', async () => {
    const run = launched('orphans');
    await said(run, step4);
    const ranks = ranksOf(run);
    process.kill(run.pid, 'SIGKILL');
    await gone(ranks);
    await goesOn('orphans');
  });

  it('a failure of all ranks is one line, and a bad flag stops the launcher itself', async () => {
    const [data, flag] = [launched('bad', '--data', path('nowhere')), launched('bad', '--watchdog', 'soon')];
    expect(await data.ended).to.equal(1);
    oneLine(data, /^kuea-align: .*nowhere/);
    expect(await flag.ended).to.equal(2);
    oneLine(flag, /^kuea-align: expected a number for --watchdog, found "soon" \(see --help\)/);
    for (const [more, expected] of [
      [['--nnodes', '2', '--node-rank', '2', '--master-addr', 'a'], /expected a --node-rank below --nnodes \(2\), found 2/],
      [['--nnodes', '2'], /expected --master-addr, the address of machine 0/],
      [['--batch-size', '1'], /expected an image for each of the 2 ranks, found a batch size of 1/],
    ] as const) {
      const run = launched('bad', ...more);
      expect(await run.ended, run.stderr).to.equal(2);
      oneLine(run, expected);
    }
    expect(existsSync(path('bad'))).to.equal(false);
  });

  it('a port in use is one line', async () => {
    const server = createServer();
    const port = await new Promise<number>((resolve) => server.listen(0, () => resolve((server.address() as { port: number }).port)));
    try {
      const run = launched('port', '--master-port', String(port));
      expect(await run.ended).to.equal(1);
      oneLine(run, new RegExp(`^kuea-align: rank 0: .*port ${port}: another process has it; choose another`));
    } finally {
      server.close();
    }
  });

  it('a full disk on rank 0: one line, the checkpoint before intact, and the run goes on when there is room', async function () {
    const small = path('small');
    mkdirSync(small);
    const mounted = process.getuid?.() === 0 && spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=22m', 'tmpfs', small]).status === 0;
    if (!mounted) {
      console.log('      skipped: mounting a small file system needs root');
      return this.skip();
    }
    try {
      const out = join('small', 'run');
      const more = ['--keep-checkpoints', '19', '--cache', path('small-cache')];
      const run = launched(out, ...more);
      expect(await run.ended).to.equal(1);
      oneLine(run, /^kuea-align: rank 0: (step \d+: )?the disk is full while writing .*--resume/);
      expect(readdirSync(path(out, 'checkpoints')).every((name) => /^step-\d{6}$/.test(name))).to.equal(true);
      expect(spawnSync('mount', ['-o', 'remount,size=200m', small]).status).to.equal(0);
      await goesOn(out);
    } finally {
      spawnSync('umount', ['-l', small]);
    }
  });
});

describe('kuea-align as a rank that somebody else has started', () => {
  let work: string;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-rank-'));
    await writeScenes(join(work, 'photos'), 24, 3, 64);
  });
  afterEach(endAll);
  after(() => rmSync(work, { recursive: true, force: true }));

  const options = (out: string) => [
    ...models,
    '--data',
    join(work, 'photos'),
    '--out',
    join(work, out),
    '--batch-size',
    '8',
    '--steps',
    '2000',
    '--save-every',
    '0',
    '--log-every',
    '1',
  ];
  const variables = (rank: number, port: number) => ({
    RANK: String(rank),
    LOCAL_RANK: String(rank),
    WORLD_SIZE: '2',
    LOCAL_WORLD_SIZE: '2',
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: String(port),
  });

  async function pair(out: string, more: string[][] = [[], []]): Promise<[Started, Started]> {
    const port = await freePort();
    return [0, 1].map((rank) => start([...options(out), '--watchdog', '3', ...more[rank]!], variables(rank, port))) as [Started, Started];
  }

  it('stops with the others, on a signal to any', async () => {
    const [first, second] = await pair('stop');
    await said(first, /step 3\/2000/);
    second.child.kill('SIGTERM');
    expect(await second.ended, second.stderr).to.equal(143);
    expect(await first.ended, first.stderr).to.equal(143);
    expect(first.stdout).to.match(/stopped and saved after step \d+/);
    expect(second.stdout).to.equal('');
  });

  for (const victim of [0, 1]) {
    it(`ends when rank ${victim} is killed, or stopped, with no launcher to tell it`, async () => {
      for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
        const ranks = await pair(`${signal}-${victim}`);
        await said(ranks[0], /step 3\/2000/);
        const [lost, other] = [ranks[victim]!, ranks[1 - victim]!];
        lost.child.kill(signal);
        expect(await other.ended).not.to.equal(0);
        if (signal === 'SIGSTOP')
          expect(other.stderr).to.match(
            new RegExp(`rank ${victim} has gone, or gave no sign of life for 3 s, while rank ${1 - victim} was at step \\d+`),
          );
        else expect(other.stderr).to.match(/rank/);
        lost.child.kill('SIGKILL');
        await lost.ended;
      }
    });
  }

  it('says which option differs, on which rank', async () => {
    const ranks = await pair('differ', [
      ['--w', '3'],
      ['--w', '4', '--threads', '1'],
    ]);
    for (const rank of ranks) {
      expect(await rank.ended).to.equal(1);
      expect(rank.stderr).to.match(
        /^kuea-align: expected all ranks to have the same options, .*, found others on rank 1: w \(3 on rank 0, 4 on rank 1\)\n$/,
      );
    }
    expect(existsSync(join(work, 'differ'))).to.equal(false);
  });

  it('says which variables are missing, and that a master cannot be reached', async () => {
    const some = start(options('some'), { RANK: '0', WORLD_SIZE: '2' });
    expect(await some.ended).to.equal(1);
    expect(some.stderr).to.match(
      /^kuea-align: .*found RANK, WORLD_SIZE without LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT:.*\n$/,
    );
    const lonely = start([...options('lonely'), '--join-timeout', '2'], variables(1, await freePort()));
    expect(await lonely.ended).to.equal(1);
    expect(lonely.stderr).to.match(/kuea-align: rank 1 cannot reach rank 0 at 127.0.0.1:\d+ within 2 s/);
    const nested = start([...options('nested'), '--nproc', '2'], variables(0, 1));
    expect(await nested.ended).to.equal(2);
    expect(nested.stderr).to.match(/expected --nproc or ranks that another launcher has started, found both/);
  });
});
