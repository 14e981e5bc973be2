import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { writeConversationScenes } from '../../lib/demo/questions.js';
import { writeScenes } from '../../lib/demo/scenes.js';
import { models, root, type Started, said, start } from './support.js';

export type ProgramName = 'align' | 'lora';

/** When a run is killed: after so many milliseconds, once it says something, or just before it gives something a name that matches. */
export type Moment = { after: number } | { says: RegExp } | { naming: string };

/** What the killed and resumed run has otherwise than the one that was left alone. */
export interface Outcome {
  /** How often it was alive to be killed. */
  kills: number;
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
    let kills = 0;
    for (const moment of moments) {
      const started = this.start(program, out, 'naming' in moment ? moment.naming : undefined);
      if ('says' in moment) await said(started, moment.says).catch(() => {});
      if ('after' in moment) await Promise.race([started.ended, sleep(moment.after)]);
      if (!('naming' in moment)) started.child.kill('SIGKILL');
      if ((await started.ended) === 'SIGKILL') kills++;
    }
    await this.finish(program, out);
    const [whole, found] = [this.whole.get(program)!, contents(out)];
    return {
      kills,
      differing: [...found.keys()].filter((name) => whole.has(name) && whole.get(name) !== found.get(name)),
      missing: [...whole.keys()].filter((name) => !found.has(name)),
      stray: [...found.keys()].filter((name) => !whole.has(name)),
    };
  }

  private start(program: ProgramName, out: string, naming?: string): Started {
    const recipes = {
      align: `--data ${this.work}/photos --batch-size 8 --epochs 2 --fit-kernel --fit-images 16`,
      lora: `--model ${root}/configs/demo/llava --data ${this.work}/talk/train.json --rank 4 --alpha 8
        --batch-size 2 --grad-accum 2 --epochs 2 --precision fp32 --max-length 512`,
    };
    const common = `--out ${out} --save-every 2 --log-every 1 --lr 1e-3 --resume`;
    const args = [...(program === 'align' ? models : []), ...`${recipes[program]} ${common}`.split(/\s+/)];
    const killer = naming && {
      KUEA_TEST_KILL_AT: naming,
      NODE_OPTIONS: `--import=${pathToFileURL(join(root, 'dist/test/process/kill-at.js')).href}`,
    };
    const file = join(root, `dist/lib/cli/kuea-${program}.cjs`);
    return start(args, { OMP_NUM_THREADS: '1', ...killer }, file);
  }

  private async finish(program: ProgramName, out: string): Promise<void> {
    const started = this.start(program, out);
    const code = await started.ended;
    if (code !== 0) throw new Error(`kuea-${program} in ${out} ended with ${code}: ${started.stderr}`);
  }
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
