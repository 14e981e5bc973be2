import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { writeConversationScenes } from '../../lib/demo/questions.js';
import { writeScenes } from '../../lib/demo/scenes.js';
import { models, root, type Started, start } from './support.js';

export type ProgramName = 'align' | 'lora';

/** When a run is killed: after so many milliseconds, or so many after a name that matches appears in a folder of it. */
export interface Moment {
  after: number;
  appears?: { folder: string; name: RegExp };
}

/** What the killed and resumed run has otherwise than the one that was left alone. */
export interface Outcome {
  /** Whether it was alive to be killed. */
  killed: boolean;
  /** Files whose contents differ, and what the one has and the other has not. */
  differing: string[];
  missing: string[];
  stray: string[];
}

/** Runs of a few seconds that have all that a kill may meet: a fit of the kernel, a cache, a lock, checkpoints, an export. */
export class KillRuns {
  private readonly whole = new Map<ProgramName, Map<string, string>>();
  private count = 0;

  constructor(private readonly work: string) {}

  async prepare(): Promise<void> {
    await writeScenes(join(this.work, 'photos'), 24, 3, 64);
    await writeConversationScenes(join(this.work, 'talk'), { train: 8, heldOut: 2, seed: 5, size: 64 });
  }

  /** Runs to the end in one go; how long that took, in milliseconds. */
  async runWhole(program: ProgramName): Promise<number> {
    const began = performance.now();
    const out = join(this.work, `${program}-whole`);
    await this.finish(program, out);
    const took = performance.now() - began;
    this.whole.set(program, contents(out));
    return took;
  }

  /** Kills a new run at each of some moments of its lives, lets the last one end, and compares. */
  async runKilled(program: ProgramName, moments: readonly Moment[]): Promise<Outcome> {
    const out = join(this.work, `${program}-${this.count++}`);
    let killed = false;
    for (const moment of moments) {
      const started = this.start(program, out);
      await comes(moment, out, started);
      killed ||= started.child.exitCode === null;
      started.child.kill('SIGKILL');
      await started.ended;
    }
    await this.finish(program, out);
    const [whole, found] = [this.whole.get(program)!, contents(out)];
    return {
      killed,
      differing: [...found.keys()].filter((name) => whole.has(name) && whole.get(name) !== found.get(name)),
      missing: [...whole.keys()].filter((name) => !found.has(name)),
      stray: [...found.keys()].filter((name) => !whole.has(name)),
    };
  }

  private start(program: ProgramName, out: string): Started {
    const recipes = {
      align: [...models, '--data', join(this.work, 'photos'), '--batch-size', '8', '--epochs', '2', '--fit-kernel', '--fit-images', '16'],
      lora: [
        '--model',
        join(root, 'configs/demo/llava'),
        '--data',
        join(this.work, 'talk/train.json'),
        '--rank',
        '4',
        '--alpha',
        '8',
      ].concat(['--batch-size', '2', '--grad-accum', '2', '--epochs', '2', '--precision', 'fp32', '--max-length', '512']),
    };
    const common = ['--out', out, '--save-every', '2', '--log-every', '1', '--lr', '1e-3', '--resume'];
    return start([...recipes[program], ...common], { OMP_NUM_THREADS: '1' }, join(root, `dist/lib/cli/kuea-${program}.cjs`));
  }

  private async finish(program: ProgramName, out: string): Promise<void> {
    const started = this.start(program, out);
    const code = await started.ended;
    if (code !== 0) throw new Error(`kuea-${program} in ${out} ended with ${code}: ${started.stderr}`);
  }
}

/** Resolves when a moment has come, or the run has ended. */
async function comes({ after, appears }: Moment, out: string, { child }: Started): Promise<void> {
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  if (appears) {
    const folder = join(out, appears.folder);
    const isThere = () => existsSync(folder) && readdirSync(folder).some((name) => appears.name.test(name));
    while (!hasEnded() && !isThere()) await sleep(1);
  }
  const end = performance.now() + after;
  while (!hasEnded() && performance.now() < end) await sleep(Math.min(10, after));
}

/** Every file of a run by name, but for when it was written and where: times in metrics, and `out`. */
function contents(out: string): Map<string, string> {
  const names = readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((name) => name !== 'config.yaml');
  const content = (name: string) => {
    const file = join(out, name);
    if (statSync(file).isDirectory()) return 'folder';
    if (name !== 'metrics.jsonl') return createHash('sha256').update(readFileSync(file)).digest('hex');
    return readFileSync(file, 'utf8').replaceAll(/"(time|seconds|\w+_ms|\w+_per_second)":("[^"]*"|[^,}]*)/g, '');
  };
  return new Map(names.sort().map((name) => [name, content(name)]));
}
