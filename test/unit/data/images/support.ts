import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { KueaError } from '../../../../lib/errors.js';
import { packageRoot } from '../../../../lib/package.js';

/** A file under test/golden. */
export const golden = (...path: string[]) => join(packageRoot(), 'test', 'golden', ...path);

export async function goldenJson<T>(...path: string[]): Promise<T> {
  return JSON.parse(await readFile(golden(...path), 'utf8')) as T;
}

/** Runs `f` in a new folder that is removed afterwards. */
export async function inFolder<T>(f: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'kuea-test-'));
  try {
    return await f(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Writes files below `folder`, making folders as needed; the content of a name given alone is empty. */
export async function write(folder: string, files: Record<string, Uint8Array | string>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
}

/** The KueaError that `promise` rejects with. */
export async function failure(promise: Promise<unknown>): Promise<KueaError> {
  const error = await promise.then(
    () => new Error('expected a rejection, found none'),
    (e: unknown) => e,
  );
  if (!(error instanceof KueaError)) throw error;
  return error;
}
