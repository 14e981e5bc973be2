import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

import { KueaError } from './errors.js';

/** A file that may not be read: of another kind (`not_a_file`), or too large (`file_too_large`). `found` is what it is, in words. */
export class UnfitFile extends KueaError {
  constructor(
    code: 'not_a_file' | 'file_too_large',
    path: string | Buffer,
    expected: string,
    readonly found: string,
  ) {
    super(code, `expected ${expected} at ${path}, found ${found}`);
  }
}

/** Bytes of one read at most: beyond 2 GiB Node ends the process. */
const largestRead = 2 ** 30;

/** What a path that is no regular file leads to, in words. */
export function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a folder';
  if (stats.isFIFO()) return 'a FIFO';
  return stats.isSocket() ? 'a socket' : 'a device';
}

/**
 * Opens a regular file, and nothing else, to be read: a FIFO would be waited for, and a device may never end. The caller closes the handle.
 * Throws KueaError `file_not_found` (its cause says why the file cannot be opened) and `not_a_file`.
 */
export async function openRegular(path: string | Buffer): Promise<{ handle: FileHandle; size: number }> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY).catch((cause: Error) => {
    throw new KueaError('file_not_found', `cannot open ${path}: ${cause.message}`, { cause });
  });
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new UnfitFile('not_a_file', path, 'a file', kindOf(stats));
    return { handle, size: stats.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** `length` bytes at `position`; fewer where the file ends. The caller bounds `length`. */
export async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, Math.min(largestRead, length - filled), position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

/** A regular file of at most `most` bytes, whole. Throws KueaError `file_too_large`, and what `openRegular` throws. */
export async function readRegular(path: string | Buffer, most: number): Promise<Buffer> {
  const { handle, size } = await openRegular(path);
  try {
    if (size > most) throw new UnfitFile('file_too_large', path, `at most ${most} bytes`, `${size} bytes`);
    return await readAt(handle, 0, size);
  } finally {
    await handle.close();
  }
}

/** Of a small file of ours, at most: what a run keeps beside its checkpoints. */
const largestOwn = 1 << 20;

/** The text of a small file of ours; null when there is no file of that name. Throws what `readRegular` throws. */
export async function readOwn(path: string): Promise<string | null> {
  return (await readIfThere(path, largestOwn))?.toString('utf8') ?? null;
}

/** As `readRegular`; null when there is no file of that name. */
export async function readIfThere(path: string, most: number): Promise<Buffer | null> {
  return readRegular(path, most).catch((error: KueaError) => {
    const { code } = (error.cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  });
}
