import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import { readConfigFile, toYaml } from '../config/files.js';
import { differingOptions } from '../config/saved.js';
import { fromRank0, type Ranks } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { clearUnfinished, isUnfinished, makeFolder, writeFileAtomically } from '../files/atomic.js';
import { FolderLock, isLock } from '../files/lock.js';
import { savedSteps } from './checkpoints.js';

/** What a run's folder is opened for: any program's checked options. */
export type RunConfig = Record<string, unknown> & { out: string; resume: boolean; extend?: boolean };

/** How long a run is: what --extend changes. */
const lengths = ['steps', 'epochs'];

/** What a run makes in its folder. */
const ours = [
  'config.yaml',
  'inputs.json',
  'metrics.jsonl',
  'skipped.jsonl',
  'cache',
  'checkpoints',
  'latest',
  'best',
  'evaluation',
  'export',
];

/** Files that do not make a folder a run's. */
const isIncidental = (name: string) => isLock(name) || isUnfinished(name) || name === 'preflight.jsonl';

/**
 * A run's folder: {config.yaml, inputs.json, metrics.jsonl, checkpoints/, latest, best, cache/, export/}, and a lock while a run is in it.
 */
export class RunFolder {
  private lock: FolderLock | null = null;
  /** Whether this start made the folder itself, and whether it found nothing in it. */
  private isMade = false;
  private isNew = false;
  private isAbandoned = false;

  private constructor(readonly path: string) {}

  /**
   * Opens `config.out` for a new run, or for the one that is there when `config.resume` is set. While there is no checkpoint nothing has
   * been computed to go on with, and the run starts with the options given; later they may differ in the `free` ones alone. `parse`
   * reads the saved config as this version would (new defaults, renamed keys). Throws KueaError: `out_in_use` (another process has it),
   * `out_not_empty` (resume was not asked for), `resume_mismatch` (naming the options that differ), `nothing_to_resume`, `bad_out`,
   * `unwritable_file`, `disk_full`. Of several ranks, which all call it, rank 0 opens the folder for all.
   */
  static async open(
    config: RunConfig,
    free: readonly string[],
    ranks: Ranks,
    parse: (saved: Record<string, unknown>) => Record<string, unknown>,
  ): Promise<RunFolder> {
    const folder = new RunFolder(config.out);
    await fromRank0(ranks, 'run folder', async () => {
      await folder.take(config, free, parse);
      return true;
    });
    return folder;
  }

  file(...names: string[]): string {
    return join(this.path, ...names);
  }

  /**
   * For a start that fails: while there is no checkpoint, what it made in a folder that was empty goes, so that another may start there as
   * if it had not been tried; the report of why stays.
   */
  async abandon(): Promise<void> {
    // A folder that cannot be looked into is not taken for an empty one.
    const isEmpty = this.isNew && (await savedSteps(this).catch(() => null))?.length === 0;
    if (!isEmpty) return;
    for (const name of ours) await rm(this.file(name), { recursive: true, force: true });
    await clearUnfinished(this.path);
    this.isAbandoned = true;
  }

  /** The run is another length from now on, also when it is resumed. Of several ranks rank 0 writes it down. */
  async lengthen(config: RunConfig): Promise<void> {
    if (this.lock) await writeFileAtomically(this.file('config.yaml'), toYaml(config));
  }

  /** Throws KueaError `lock_lost` when the folder is another process's by now. */
  async check(): Promise<void> {
    await this.lock?.check();
  }

  /** Lets another run in. */
  async close(): Promise<void> {
    const { lock } = this;
    this.lock = null;
    await lock?.release();
    if (lock && this.isMade && this.isAbandoned) await rmdir(this.path).catch(() => {});
  }

  private async take(config: RunConfig, free: readonly string[], parse: (saved: Record<string, unknown>) => Record<string, unknown>) {
    this.isMade = await makeFolder(this.path);
    const taken = await FolderLock.tryTake(this.path);
    if (!(taken instanceof FolderLock)) {
      const { pid, host, started } = taken;
      throw new KueaError(
        'out_in_use',
        `the folder ${this.path} is in use by process ${pid} on ${host} since ${started}: wait for it, or choose another --out`,
      );
    }
    this.lock = taken;
    try {
      await this.claim(config, free, parse);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  private async claim(config: RunConfig, free: readonly string[], parse: (saved: Record<string, unknown>) => Record<string, unknown>) {
    const saved = this.file('config.yaml');
    const content = (await readdir(this.path)).filter((name) => !isIncidental(name));
    this.isNew = content.length === 0;
    if (!this.isNew && !config.resume)
      throw new KueaError(
        'out_not_empty',
        `expected a new or empty folder for the run, found ${content.slice(0, 4).join(', ')} in ${this.path}: add --resume to go on ` +
          `with it, or choose another --out`,
      );
    // With --resume in a start script, nothing there means "start".
    if (!this.isNew && !content.includes('config.yaml'))
      throw new KueaError('nothing_to_resume', `expected a run to resume in ${this.path}, found no config.yaml`);
    for (const folder of [this.path, this.file('checkpoints'), this.file('export')]) await clearUnfinished(folder);
    if ((await savedSteps(this)).length === 0) {
      await rm(this.file('inputs.json'), { force: true });
      await writeFileAtomically(saved, toYaml(config));
      return;
    }
    const differing = differingOptions(parse(await readConfigFile(saved)), config, config.extend ? [...free, ...lengths] : free);
    if (differing.length === 0) return;
    const isLonger = differing.every((option) => lengths.some((key) => option.startsWith(`${key} `)));
    throw new KueaError(
      'resume_mismatch',
      `expected the options that the run in ${this.path} was started with, found others: ${differing.join(', ')}` +
        (isLonger ? '; --extend lengthens a run' : ''),
    );
  }
}
