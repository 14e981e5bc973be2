import { readFileSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import { isDeepStrictEqual } from 'node:util';

import { readConfigFile, toYaml } from '../config/files.js';
import { fromRank0, type Ranks } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';

/** What a run's folder is opened for: any program's checked options. */
export type RunConfig = Record<string, unknown> & { out: string; resume: boolean };

interface Owner {
  pid: number;
  host: string;
  started: string;
  /** When the process began, in the system's ticks since it booted; null where /proc does not tell. */
  began: number | null;
}

/** Files that do not make a folder a run's. */
const incidental = ['lock', 'preflight.jsonl'];

/**
 * A run's folder: {config.yaml, metrics.jsonl, checkpoints/, latest, export/}, and a lock while a run is in it.
 */
export class RunFolder {
  private isNew = false;

  private constructor(
    readonly path: string,
    private readonly owns: boolean,
  ) {}

  /**
   * Opens `config.out` for a new run, or for the one that is there when `config.resume` is set, whose options may then differ in the `free`
   * ones alone. Throws KueaError: `out_in_use` (another process has it), `out_not_empty` (resume was not asked for), `resume_mismatch`
   * (naming the options that differ), `nothing_to_resume`. Of several ranks, which all call it, rank 0 opens the folder for all.
   */
  static async open(config: RunConfig, free: readonly string[], ranks: Ranks): Promise<RunFolder> {
    const folder = new RunFolder(config.out, ranks.rank === 0);
    await fromRank0(ranks, 'run folder', async () => {
      await folder.take(config, free);
      return true;
    });
    return folder;
  }

  file(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** For a run that fails before it begins: the folder is as if it had not been tried, but for the report of why. */
  async abandon(): Promise<void> {
    if (this.isNew && (await readdir(this.file('checkpoints')).catch(() => [])).length === 0)
      await rm(this.file('config.yaml'), { force: true });
  }

  /** Lets another run in. */
  async close(): Promise<void> {
    if (this.owns) await rm(this.file('lock'), { force: true });
  }

  private async take(config: RunConfig, free: readonly string[]): Promise<void> {
    await mkdir(config.out, { recursive: true }).catch((cause: unknown) => {
      throw new KueaError('bad_out', `cannot make the folder ${config.out}: ${(cause as Error).message}`, { cause });
    });
    await this.lock();
    try {
      await this.claim(config, free);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  private async lock(): Promise<void> {
    const me: Owner = { pid: process.pid, host: hostname(), started: new Date().toISOString(), began: beginning(process.pid) };
    // A second try, after a dead owner's lock is removed.
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        const handle = await open(this.file('lock'), 'wx');
        await handle.writeFile(JSON.stringify(me));
        await handle.close();
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const owner = await this.owner();
      if (owner && (owner.host !== me.host || isAlive(owner))) {
        throw new KueaError(
          'out_in_use',
          `the folder ${this.path} is in use by process ${owner.pid} on ${owner.host} since ${owner.started}: wait for it, or choose ` +
            `another --out${owner.host === me.host ? '' : ` (if that machine is gone, remove ${this.file('lock')})`}`,
        );
      }
      await rm(this.file('lock'), { force: true });
    }
    throw new KueaError('out_in_use', `the folder ${this.path} is being taken by another process: choose another --out`);
  }

  private async owner(): Promise<Owner | null> {
    try {
      return JSON.parse(await readFile(this.file('lock'), 'utf8')) as Owner;
    } catch {
      return null;
    }
  }

  private async claim(config: RunConfig, free: readonly string[]): Promise<void> {
    const saved = this.file('config.yaml');
    const content = (await readdir(this.path)).filter((name) => !incidental.includes(name));
    this.isNew = content.length === 0;
    if (!config.resume) {
      if (content.length > 0)
        throw new KueaError(
          'out_not_empty',
          `expected a new or empty folder for the run, found ${content.slice(0, 4).join(', ')} in ${this.path}: add --resume to go on ` +
            `with it, or choose another --out`,
        );
      await writeFileAtomically(saved, toYaml(config));
      return;
    }
    if (content.length === 0) {
      // Nothing happened yet: --resume in a start script then means "start".
      await writeFileAtomically(saved, toYaml(config));
      return;
    }
    if (!content.includes('config.yaml'))
      throw new KueaError('nothing_to_resume', `expected a run to resume in ${this.path}, found no config.yaml`);
    const before = await readConfigFile(saved);
    const differing = [...new Set([...Object.keys(before), ...Object.keys(config)])]
      .filter((key) => !free.includes(key) && !isDeepStrictEqual(before[key], config[key]))
      .map((key) => `${key} (${JSON.stringify(before[key])} then, ${JSON.stringify(config[key])} now)`);
    if (differing.length > 0)
      throw new KueaError(
        'resume_mismatch',
        `expected the options that the run in ${this.path} was started with, found others: ${differing.join(', ')}`,
      );
  }
}

/** When a process began; null when it has ended, also where nobody has reaped it, or there is no /proc. */
function beginning(pid: number): number | null {
  try {
    // The name, in brackets, may hold anything: the state comes after it, and the beginning is the 20th word from there.
    const words = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return words[0] === 'Z' || words[0] === 'X' ? null : Number(words[19]);
  } catch {
    return null;
  }
}

/** Whether the owner still runs. A container that is started again gives the same number to another process. */
function isAlive({ pid, began }: Owner): boolean {
  if (typeof began === 'number') return beginning(pid) === began;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
