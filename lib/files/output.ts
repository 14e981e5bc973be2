import { copyFile, lstat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../errors.js';
import { placeWhole } from './atomic.js';

type Make = (path: string) => Promise<unknown>;

/**
 * Makes the file or folder `out`: `make` fills a place beside its name, which is then synced and renamed, so `out` is whole or absent.
 * Throws KueaError `exists`, `disk_full`, `unwritable_file`, and what `make` throws.
 */
export async function writeWhole(out: string, make: Make): Promise<void> {
  if (await lstat(out).catch(() => null))
    throw new KueaError('exists', `expected no file or folder at ${out}, found one: remove it or choose another`);
  await placeWhole(out, make, false);
}

/** As writeWhole, but in the place of what is there, which stays until the new one is whole. */
export function replaceWhole(out: string, make: Make): Promise<void> {
  return placeWhole(out, make, true);
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
