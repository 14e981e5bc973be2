import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import { isDeepStrictEqual } from 'node:util';

import { readConfigFile, toYaml } from '../config/files.js';
import { KueaError } from '../errors.js';
import { writeFileAtomically } from './atomic.js';

/** What a run's folder is opened for: any program's checked options. */
export type RunConfig = Record<string, unknown> & { out: string; resume: boolean };

interface Owner {
  pid: number;
  host: string;
  started: string;
}

/** Files that do not make a folder a run's. */
const incidental = ['lock', 'preflight.jsonl'];

/**
 * A run's folder: {config.yaml, metrics.jsonl, checkpoints/, latest, export/}, and a lock while a run is in it.
 */
export class RunFolder {
  private isNew = false;

  private constructor(readonly path: string) {}

  /**
   * Opens `config.out` for a new run, or for the one that is there when `config.resume` is set, whose options may then differ in the `free` ones alone.
   * Throws KueaError: `out_in_use` (another process has it), `out_not_empty` (resume was not asked for), `resume_mismatch` (naming the options that
   * differ), `nothing_to_resume`.
   */
  static async open(config: RunConfig, free: readonly string[]): Promise<RunFolder> {
    const folder = new RunFolder(config.out);
    await mkdir(config.out, { recursive: true }).catch((cause: unknown) => {
      throw new KueaError('bad_out', `cannot make the folder ${config.out}: ${(cause as Error).message}`, { cause });
    });
    await folder.lock();
    try {
      await folder.claim(config, free);
    } catch (error) {
      await folder.close();
      throw error;
    }
    return folder;
  }

  file(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** For a run that fails before it begins: the folder is as if it had not been tried, but for the report of why. */
  async abandon(): Promise<void> {
    if (this.isNew) await rm(this.file('config.yaml'), { force: true });
  }

  /** Lets another run in. */
  async close(): Promise<void> {
    await rm(this.file('lock'), { force: true });
  }

  private async lock(): Promise<void> {
    const me: Owner = { pid: process.pid, host: hostname(), started: new Date().toISOString() };
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
      if (owner && (owner.host !== me.host || isAlive(owner.pid))) {
        throw new KueaError('out_in_use', `the folder ${this.path} is in use by process ${owner.pid} on ${owner.host} since ${owner.started}: wait for it, or choose another --out${owner.host === me.host ? '' : ` (if that machine is gone, remove ${this.file('lock')})`}`);
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
      if (content.length > 0) throw new KueaError('out_not_empty', `expected a new or empty folder for the run, found ${content.slice(0, 4).join(', ')} in ${this.path}: add --resume to go on with it, or choose another --out`);
      await writeFileAtomically(saved, toYaml(config));
      return;
    }
    if (content.length === 0) {
      // Nothing happened yet: --resume in a start script then means "start".
      await writeFileAtomically(saved, toYaml(config));
      return;
    }
    if (!content.includes('config.yaml')) throw new KueaError('nothing_to_resume', `expected a run to resume in ${this.path}, found no config.yaml`);
    const before = await readConfigFile(saved);
    const differing = [...new Set([...Object.keys(before), ...Object.keys(config)])]
      .filter((key) => !free.includes(key) && !isDeepStrictEqual(before[key], config[key]))
      .map((key) => `${key} (${JSON.stringify(before[key])} then, ${JSON.stringify(config[key])} now)`);
    if (differing.length > 0) throw new KueaError('resume_mismatch', `expected the options that the run in ${this.path} was started with, found others: ${differing.join(', ')}`);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
