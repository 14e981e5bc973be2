import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { KueaError } from '../errors.js';
import { asWriteError, syncFolder, writeFileAtomically } from '../files/atomic.js';
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

const folderName = (step: number) => `step-${String(step).padStart(6, '0')}`;
const stepOf = (name: string) => (/^step-\d{6,}$/.test(name) ? Number(name.slice(5)) : -1);

/** Steps of the complete checkpoints of a run, ascending. A folder gets its name only when it is whole. */
async function savedSteps(run: RunFolder): Promise<number[]> {
  const names = await readdir(run.file('checkpoints')).catch(() => []);
  return names
    .map(stepOf)
    .filter((step) => step >= 0)
    .sort((a, b) => a - b);
}

/**
 * Saves a checkpoint: `write` fills a folder beside the final name, which is then synced and renamed, `latest` is pointed at it, and all
 * but the newest `keep` are removed. On failure nothing of it is left and the ones before are untouched. Throws KueaError `disk_full`, and
 * what `write` throws.
 */
export async function saveCheckpoint(
  run: RunFolder,
  step: number,
  version: string,
  keep: number,
  write: (folder: string) => Promise<void>,
): Promise<Checkpoint> {
  const parent = run.file('checkpoints');
  const path = join(parent, folderName(step));
  const partial = join(parent, `.${folderName(step)}.partial`);
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    await write(partial);
    await writeFileAtomically(join(partial, 'state.json'), `${JSON.stringify({ step, version }, null, 2)}\n`);
    await rm(path, { recursive: true, force: true });
    await rename(partial, path);
    await syncFolder(parent);
    await writeFileAtomically(run.file('latest'), `checkpoints/${folderName(step)}\n`);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw asWriteError(error, path);
  }
  const steps = await savedSteps(run);
  for (const old of steps.slice(0, Math.max(0, steps.length - keep)))
    await rm(join(parent, folderName(old)), { recursive: true, force: true });
  return { path, step };
}

/** The newest complete checkpoint, or null; what a killed run left half-written is removed. Throws KueaError `bad_checkpoint`. */
export async function latestCheckpoint(run: RunFolder): Promise<Checkpoint | null> {
  const parent = run.file('checkpoints');
  for (const name of await readdir(parent).catch(() => [] as string[])) {
    if (name.endsWith('.partial')) await rm(join(parent, name), { recursive: true, force: true });
  }
  const step = (await savedSteps(run)).at(-1);
  if (step === undefined) return null;
  const path = join(parent, folderName(step));
  try {
    const state = stateSchema.parse(JSON.parse(await readFile(join(path, 'state.json'), 'utf8')));
    if (state.step !== step) throw new Error(`it says step ${state.step}`);
  } catch (cause) {
    throw new KueaError(
      'bad_checkpoint',
      `the checkpoint ${path} is damaged (${(cause as Error).message.split('\n')[0]}): remove it to resume from the one before`,
      { cause },
    );
  }
  return { path, step };
}
