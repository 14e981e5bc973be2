import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { packageRoot } from '../../lib/package.js';

export const root = packageRoot();
export const program = join(root, 'dist/lib/cli/kuea-align.cjs');
export const models = ['--student', join(root, 'configs/demo/clip'), '--teacher', join(root, 'configs/demo/dinov2')];

/** A program that runs, and what it has said. */
export interface Started {
  child: ChildProcess;
  pid: number;
  stdout: string;
  stderr: string;
  /** Exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals>;
}

const all = new Set<Started>();

/** Ends what a failed test has left running. */
export function endAll(): void {
  for (const { child, pid } of all) if (child.exitCode === null && child.signalCode === null) process.kill(-pid, 'SIGKILL');
  all.clear();
}

/** Starts kuea-align, or another program, in a process group of its own, as a shell does. */
export function start(args: string[], env: Record<string, string> = {}, file = program): Started {
  const child = spawn(process.execPath, [file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
  });
  const ended = new Promise<number | NodeJS.Signals>((resolve) => child.on('close', (code, signal) => resolve(code ?? signal!)));
  const started: Started = { child, pid: child.pid!, stdout: '', stderr: '', ended };
  all.add(started);
  child.stdout.on('data', (chunk: Buffer) => (started.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (started.stderr += chunk.toString()));
  return started;
}

/** Resolves once its output matches. */
export function said(started: Started, pattern: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (pattern.test(started.stdout) || pattern.test(started.stderr)) resolve();
    };
    started.child.stdout!.on('data', look);
    started.child.stderr!.on('data', look);
    look();
    void started.ended.then(() => reject(new Error(`it ended before it said ${pattern}: ${started.stdout}${started.stderr}`)));
  });
}

/** What a run computed: everything but times. */
export function readTrace(folder: string): Record<string, number>[] {
  return readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { step, epoch, lr, loss, kernel_loss, anchor_loss, cosine_to_original, gamma, c } = JSON.parse(line) as Record<string, number>;
      return { step, epoch, lr, loss, kernel_loss, anchor_loss, cosine_to_original, gamma, c } as Record<string, number>;
    });
}
