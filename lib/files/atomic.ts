import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

import { KueaError } from '../errors.js';

/** A failure to write, in our words when the disk is full. */
export function asWriteError(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new KueaError('disk_full', `the disk is full while writing ${path}: free some space and go on with --resume`, { cause: error });
}

/** Makes a folder's entries survive a crash of the machine. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file whole or not at all: beside its name, synced, renamed. Throws KueaError `disk_full`. */
export async function writeFileAtomically(path: string, content: string): Promise<void> {
  const partial = `${path}.partial`;
  try {
    const handle = await open(partial, 'w');
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(partial, { force: true });
    throw asWriteError(error, path);
  }
}
