import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';

import { printable } from '../text/printable.js';
import { defaultPort } from './environment.js';
import { launchedVariable, type RankMessage } from './launched.js';

/** Which ranks to start on this machine, and where all of them meet. */
export interface LaunchSpec {
  /** Ranks on each machine. */
  nproc: number;
  nnodes: number;
  nodeRank: number;
  /** Machine 0, as the others reach it. */
  masterAddr: string;
  /** Absent: a free one for one machine, torchrun's for several. */
  masterPort?: number | undefined;
  /** Seconds without a sign of life after which a rank counts as lost. */
  watchdog: number;
  /** Is told what a person should know. */
  note(text: string): void;
  /** Is told, once, why the job failed. */
  failed(failure: { code: string; message: string; usage: boolean }): void;
}

interface Rank {
  rank: number;
  child: ChildProcess;
  step: number;
  lastBeat: number;
  /** It told its error. */
  failed: boolean;
}

interface Failure {
  rank: number;
  code: string;
  message: string;
  usage: boolean;
  /** It may have failed because another rank had. */
  consequence: boolean;
}

/** Of a job that was told to stop: 128 and the signal's number. */
const exitCodes: Readonly<Record<string, number>> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** How long the others have to end by themselves, and to tell their errors, once a rank has failed. */
const graceMs = 3000;

/** How often the launcher looks whether all ranks are alive. */
const watchMs = 1000;

/** A port that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** torchrun's variables for one rank; its threads, when nobody said how many, are its share of the cores. */
export function rankEnvironment(
  { nproc, nnodes, nodeRank, masterAddr }: LaunchSpec,
  masterPort: number,
  localRank: number,
): Record<string, string> {
  const threads = Math.max(1, Math.floor(availableParallelism() / nproc));
  return {
    OMP_NUM_THREADS: process.env['OMP_NUM_THREADS'] ?? String(threads),
    UV_THREADPOOL_SIZE: String(Math.max(4, threads)),
    RANK: String(nodeRank * nproc + localRank),
    LOCAL_RANK: String(localRank),
    WORLD_SIZE: String(nproc * nnodes),
    LOCAL_WORLD_SIZE: String(nproc),
    MASTER_ADDR: masterAddr,
    MASTER_PORT: String(masterPort),
    [launchedVariable]: '1',
  };
}

/** The processes of one launch and how they end. */
class Launch {
  private readonly ranks: Rank[];
  private readonly failures: Failure[] = [];
  /** Told to stop, by which signal. */
  private stopping: NodeJS.Signals | undefined;
  private ending = false;
  private killed = false;
  private exitCode = 0;
  private lastWatch = Date.now();

  constructor(
    private readonly spec: LaunchSpec,
    masterPort: number,
  ) {
    this.ranks = Array.from({ length: spec.nproc }, (_, localRank) => this.start(localRank, masterPort));
  }

  /**
   * Rank 0 has this process's own output; the others' lines are marked, and go to stderr, so that a reader of stdout finds rank 0's alone.
   */
  private start(localRank: number, masterPort: number): Rank {
    const rank = this.spec.nodeRank * this.spec.nproc + localRank;
    const output = rank === 0 ? 'inherit' : 'pipe';
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      env: { ...process.env, ...rankEnvironment(this.spec, masterPort, localRank) },
      stdio: ['ignore', output, output, 'ipc'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => process.stderr.write(`[rank ${rank}] ${printable(line)}\n`));
    }
    return { rank, child, step: 0, lastBeat: Date.now(), failed: false };
  }

  /** Resolves to the exit code once no rank is left. */
  async run(): Promise<number> {
    const stop = (signal: NodeJS.Signals) => this.stop(signal);
    for (const name of Object.keys(exitCodes)) process.on(name, stop);
    const watch = setInterval(() => this.watch(), watchMs);
    try {
      await Promise.all(this.ranks.map((rank) => this.follow(rank)));
    } finally {
      clearInterval(watch);
      for (const name of Object.keys(exitCodes)) process.off(name, stop);
    }
    const failure = this.failures.find(({ consequence }) => !consequence) ?? this.failures[0];
    if (!failure) return this.exitCode;
    const { rank, code, message, usage } = failure;
    // What every rank says is no matter of one.
    const common = this.failures.length === this.spec.nproc && this.failures.every((other) => other.message === message);
    this.spec.failed({ code, message: `${common ? '' : `rank ${rank}: `}${message}`, usage });
    return usage ? 2 : 1;
  }

  /** Resolves when the rank has gone. */
  private follow(rank: Rank): Promise<void> {
    const { child } = rank;
    child.on('message', (message: RankMessage) => {
      rank.lastBeat = Date.now();
      if (message.type === 'beat') rank.step = message.step;
      else if (message.type === 'lost') this.lostElsewhere(message.rank);
      else {
        rank.failed = true;
        const { code, message: text, usage } = message;
        this.fail({ rank: rank.rank, code, message: text, usage, consequence: code === 'rank_failed' });
      }
    });
    return new Promise((resolve) => {
      const gone = (how: string, code: number | null, signal: NodeJS.Signals | null) => {
        this.gone(rank, how, code, signal);
        resolve();
      };
      child.on('error', (error) => gone(`did not start (${error.message})`, null, null));
      // Not 'exit': what it said last must be read first.
      child.on('close', (code, signal) => gone(signal ? `was killed by ${signal}` : `ended with exit code ${code}`, code, signal));
    });
  }

  private gone(rank: Rank, how: string, code: number | null, signal: NodeJS.Signals | null): void {
    if (rank.failed || this.killed || code === 0) return;
    if (Object.values(exitCodes).includes(code ?? 0)) {
      this.exitCode = this.stopping ? this.exitCode : code!;
      return;
    }
    // The signal came before it could listen: nothing is there to be saved.
    if (signal && signal === this.stopping) return this.end();
    const hint = signal === 'SIGKILL' ? ": out of memory, or somebody's kill -9" : '';
    this.fail({
      rank: rank.rank,
      code: 'rank_failed',
      message: `process ${rank.child.pid} ${how} ${this.at(rank)}${hint}; the last checkpoint is kept`,
      usage: false,
      consequence: false,
    });
  }

  private at({ step }: Rank): string {
    return step > 0 ? `at step ${step}` : 'before its first step';
  }

  private watch(): void {
    const now = Date.now();
    // Stopped and continued (Ctrl-Z, a laptop that slept): the beats of meanwhile are still to be read.
    if (now - this.lastWatch > watchMs + this.spec.watchdog * 500) for (const rank of this.ranks) rank.lastBeat = now;
    this.lastWatch = now;
    const silent = this.ranks.find((rank) => this.alive(rank) && now - rank.lastBeat > this.spec.watchdog * 1000);
    if (silent) this.lost(silent.rank, `process ${silent.child.pid}`, silent);
  }

  /** Of a rank of our own we know more ourselves. */
  private lostElsewhere(number: number): void {
    if (!this.ranks.some(({ rank }) => rank === number)) this.lost(number, 'on another machine', this.ranks[0]!);
  }

  private alive({ child }: Rank): boolean {
    return child.exitCode === null && child.signalCode === null;
  }

  /** A rank is silent: nothing that waits for it will end by itself. */
  private lost(rank: number, who: string, latest: Rank): void {
    if (this.ending) return;
    const message =
      `${who} gave no sign of life for ${this.spec.watchdog} s ${this.at(latest)}: stopped, stuck, or its machine has ` +
      `gone; the last checkpoint is kept`;
    this.fail({ rank, code: 'rank_failed', message, usage: false, consequence: false });
    this.kill();
  }

  private fail(failure: Failure): void {
    this.failures.push(failure);
    this.end();
  }

  /** Nothing more is expected of the others than to go. */
  private end(): void {
    if (this.ending) return;
    this.ending = true;
    setTimeout(() => this.kill(), graceMs).unref();
  }

  private kill(): void {
    this.killed = true;
    for (const rank of this.ranks) if (this.alive(rank)) rank.child.kill('SIGKILL');
  }

  /**
   * Once: every rank finishes the step and saves. Twice: at once. A terminal sends its Ctrl-C to the ranks as well, which take no harm from
   * hearing it again.
   */
  private stop(signal: NodeJS.Signals): void {
    this.exitCode = exitCodes[signal]!;
    if (this.stopping) return this.kill();
    this.stopping = signal;
    this.spec.note(`${signal}: all ranks finish this step and save; once more to stop at once`);
    for (const rank of this.ranks) if (this.alive(rank)) rank.child.kill(signal);
  }
}

/**
 * Starts this very program again, once a rank, with torchrun's variables set, and resolves to the exit code when all have ended. A rank
 * that dies, fails or falls silent ends the others: one line says which, at which step, and why.
 */
export async function launch(spec: LaunchSpec): Promise<number> {
  const port = spec.masterPort ?? (spec.nnodes > 1 ? defaultPort : await freePort());
  if (spec.nodeRank > 0) {
    const first = spec.nodeRank * spec.nproc;
    spec.note(
      `ranks ${first} to ${first + spec.nproc - 1} of ${spec.nnodes * spec.nproc} are on this machine; rank 0 at ` +
        `${spec.masterAddr}:${port} reports`,
    );
  }
  return new Launch(spec, port).run();
}
