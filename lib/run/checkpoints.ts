import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { KueaError, reason } from '../errors.js';
import { clearUnfinished, removeWhole, syncTree, writeFileAtomically } from '../files/atomic.js';
import { replaceWhole } from '../files/output.js';
import type { RunFolder } from './run-folder.js';

const stateSchema = z.strictObject({
  /** Updates made. */
  step: z.int().nonnegative(),
  version: z.string(),
});

export interface Checkpoint {
  path: string;
  step: number;
}

export interface SavedCheckpoint extends Checkpoint {
  /** Why an old checkpoint could not be removed. */
  warning?: string;
}

const folderName = (step: number) => `step-${String(step).padStart(6, '0')}`;
const stepOf = (name: string) => (/^step-\d{6,}$/.test(name) ? Number(name.slice(5)) : -1);

type Folder = Pick<RunFolder, 'file'>;

/** Steps of the complete checkpoints, ascending: a folder gets its name only when it is whole. Throws KueaError `bad_checkpoint`. */
export async function savedSteps(run: Folder): Promise<number[]> {
  const names = await readdir(run.file('checkpoints')).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw new KueaError('bad_checkpoint', `cannot list the checkpoints of the run (${cause.message}): make their folder readable`, {
      cause,
    });
  });
  return names
    .map(stepOf)
    .filter((step) => step >= 0)
    .sort((a, b) => a - b);
}

/**
 * Saves a checkpoint: `write` fills a folder beside the final name, which is then synced and renamed, `latest` is pointed at it, and all
 * but the newest `keep` and the best are removed. On failure nothing of it is left and the ones before are untouched. Throws KueaError
 * `disk_full`, `unwritable_file`, `lock_lost`, and what `write` throws.
 */
export async function saveCheckpoint(
  run: Pick<RunFolder, 'file' | 'check'>,
  step: number,
  version: string,
  keep: number,
  write: (folder: string) => Promise<void>,
): Promise<SavedCheckpoint> {
  const parent = run.file('checkpoints');
  const path = join(parent, folderName(step));
  await run.check();
  // A run goes on after the checkpoint's step: the lines of the steps before must not be lost with the power.
  for (const name of ['metrics.jsonl', 'skipped.jsonl']) await syncTree(run.file(name));
  await replaceWhole(path, async (folder) => {
    await mkdir(folder);
    await write(folder);
    await writeFile(join(folder, 'state.json'), `${JSON.stringify({ step, version }, null, 2)}\n`);
  });
  await writeFileAtomically(run.file('latest'), `checkpoints/${folderName(step)}\n`);

  const warning = await removeOld(run, keep);
  return { path, step, ...(warning === undefined ? {} : { warning }) };
}

/** Removes all checkpoints but the newest `keep` and the best; why one of them could not be removed. */
async function removeOld(run: Folder, keep: number): Promise<string | undefined> {
  const steps = await savedSteps(run);
  const best = (await bestCheckpoint(run))?.step;
  let warning: string | undefined;
  for (const old of steps.slice(0, Math.max(0, steps.length - keep)).filter((other) => other !== best)) {
    // It is only in the way: the run goes on.
    await removeWhole(run.file('checkpoints', folderName(old))).catch((error: Error) => {
      warning = `cannot remove the old checkpoint of step ${old} (${error.message})`;
    });
  }
  return warning;
}

/** The newest complete checkpoint, or null; what a killed run left half-written is removed. Throws KueaError `bad_checkpoint`. */
export async function latestCheckpoint(run: Folder): Promise<Checkpoint | null> {
  const parent = run.file('checkpoints');
  await clearUnfinished(parent);
  const step = (await savedSteps(run)).at(-1);
  if (step === undefined) return null;
  const path = join(parent, folderName(step));
  try {
    const state = stateSchema.parse(JSON.parse(await readFile(join(path, 'state.json'), 'utf8')));
    if (state.step !== step) throw new Error(`it says step ${state.step}`);
  } catch (cause) {
    throw new KueaError('bad_checkpoint', `the checkpoint ${path} is damaged (${reason(cause)}): remove it to resume from the one before`, {
      cause,
    });
  }
  return { path, step };
}

/** Points `best` at the checkpoint of `step`, which is then kept beside the newest `keep`, with the metric that made it the best. */
export async function markBest(run: Folder, step: number, metric: number, keep: number): Promise<void> {
  await writeFileAtomically(run.file('best'), `checkpoints/${folderName(step)}\n${metric}\n`);
  await removeOld(run, keep);
}

/** The checkpoint that `best` names, with its metric; null when there is none. */
export async function bestCheckpoint(run: Folder): Promise<(Checkpoint & { metric: number }) | null> {
  const [name = '', metric = ''] = (await readFile(run.file('best'), 'utf8').catch(() => '')).split('\n');
  const step = stepOf(name.replace(/^checkpoints\//, ''));
  if (step < 0 || metric === '' || !(await savedSteps(run)).includes(step)) return null;
  return { path: run.file('checkpoints', folderName(step)), step, metric: Number(metric) };
}
