import { copyFile, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { KueaError } from '../errors.js';

/**
 * Makes the file or folder `out`: `make` fills a place beside its name, which is then renamed, so `out` is whole or absent. Throws
 * KueaError `exists`, `disk_full`, and what `make` throws.
 */
export async function writeWhole(out: string, make: (path: string) => Promise<void>): Promise<void> {
  if (await stat(out).catch(() => null))
    throw new KueaError('exists', `expected no file or folder at ${out}, found one: remove it or choose another`);
  await mkdir(dirname(out), { recursive: true });
  const work = await mkdtemp(join(dirname(out), `.${basename(out)}-`));
  try {
    const made = join(work, basename(out));
    await make(made);
    await rename(made, out);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new KueaError('disk_full', `the disk is full while exporting to ${out}: free some space and go on with --resume`, {
        cause: error,
      });
    throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** As writeWhole, in place of what is there, which goes once the new one is whole. */
export async function replaceWhole(out: string, make: (path: string) => Promise<void>): Promise<void> {
  await rm(out, { recursive: true, force: true });
  await make(out);
}

export function writeJson(folder: string, name: string, value: unknown): Promise<void> {
  return writeFile(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
}

/** Copies those of some files that there are. */
export async function copyCompanions(from: string, to: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await copyFile(join(from, name), join(to, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }
}
