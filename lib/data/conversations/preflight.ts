import { stat } from 'node:fs/promises';
import { isAbsolute, join, normalize } from 'node:path';

import { forEachConcurrently } from '../concurrency.js';
import { decode } from '../images/decode.js';
import { withImage } from '../images/in-work.js';

/** Why the image at `path` cannot be used, or null. */
async function fault(folder: string, path: string, verify: boolean): Promise<string | null> {
  if (isAbsolute(path) || normalize(path).startsWith('..')) return 'a path that leads out of the folder of images';
  const file = join(folder, path);
  const found = await stat(file).catch(() => null);
  if (!found) return 'no such file';
  if (!found.isFile()) return 'no file but something else of that name';
  if (found.size === 0) return 'an empty file';
  if (!verify) return null;
  return withImage(file, decode).then(
    () => null,
    (error: Error) => error.message,
  );
}

/**
 * Looks at every image before anything is trained on: that it is there and, with `verify`, that it can be decoded. Resolves to what is
 * wrong with each that cannot be used, by path.
 */
export async function checkImages(
  folder: string,
  paths: readonly string[],
  options: { verify: boolean; concurrency: number; signal?: AbortSignal | undefined },
): Promise<Map<string, string>> {
  const faults = new Map<string, string>();
  await forEachConcurrently(paths.length, options.concurrency, async (i) => {
    options.signal?.throwIfAborted();
    const found = await fault(folder, paths[i]!, options.verify);
    if (found) faults.set(paths[i]!, found);
  });
  return faults;
}
