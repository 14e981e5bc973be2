import { lstat, mkdir, mkdtemp, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { KueaError } from '../errors.js';

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? '';

/** A failure to write, in our words when the disk is full (`disk_full`) or does not let itself be written (`unwritable_file`). */
export function asWriteError(error: unknown, path: string): unknown {
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new KueaError('disk_full', `the disk is full while writing ${path}: free some space and go on with --resume`, { cause: error });
  if (['EROFS', 'EACCES', 'EPERM', 'EIO'].includes(code))
    return new KueaError(
      'unwritable_file',
      `cannot write ${path} (${(error as Error).message}): make its folder writable, or use another`,
      {
        cause: error,
      },
    );
  return error;
}

const isAny = (path: string) =>
  lstat(path).then(
    () => true,
    () => false,
  );

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a folder's entries survive a crash of the machine, as far as the file system can. */
export async function syncFolder(folder: string): Promise<void> {
  await sync(folder).catch((error: unknown) => {
    // Folders that may not be read, and file systems that sync files alone.
    if (!['EACCES', 'EPERM', 'EINVAL', 'ENOTSUP', 'EISDIR'].includes(codeOf(error))) throw error;
  });
}

/** Makes a file, where there is one, or a folder and all that is in it survive a crash of the machine. */
export async function syncTree(path: string): Promise<void> {
  const found = await lstat(path).catch(() => null);
  if (found?.isFile()) await sync(path);
  if (!found?.isDirectory()) return;
  for (const name of await readdir(path)) await syncTree(join(path, name));
  await syncFolder(path);
}

/**
 * Makes a folder and those above it that are missing; whether there was none. (node's own recursive mkdir never returns below /proc.)
 * Throws KueaError `bad_out`, `disk_full`.
 */
export async function makeFolder(path: string): Promise<boolean> {
  const isThere = (folder: string) =>
    stat(folder).then(
      (found) => found.isDirectory(),
      () => false,
    );
  try {
    await mkdir(path);
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && (await isThere(path))) return false;
    const parent = dirname(path);
    if (codeOf(error) !== 'ENOENT' || parent === path || (await isThere(parent))) {
      const known = asWriteError(error, path);
      if (known instanceof KueaError && known.code === 'disk_full') throw known;
      throw new KueaError('bad_out', `cannot make the folder ${path} (${(error as Error).message}): choose another place`, {
        cause: error,
      });
    }
    await makeFolder(parent);
    return makeFolder(path);
  }
  await syncFolder(dirname(path));
  return true;
}

/** Names beside the final one that only a killed writer leaves behind. */
const unfinished = /\.partial(-\w{6})?$/;
export const isUnfinished = (name: string) => unfinished.test(name);

/**
 * The one way to write: `make` fills a place beside `out`, which is synced and renamed, so that after a kill or a power cut `out` is what
 * it was before, or whole. With `replace` it takes the place of what is there, which is put away, not deleted, until the new one has its
 * name. Throws KueaError `disk_full`, `unwritable_file`, `bad_out`, and what `make` throws; then `out` is as it was.
 */
export async function placeWhole(out: string, make: (path: string) => Promise<unknown>, replace: boolean): Promise<void> {
  const parent = dirname(out);
  let work: string | undefined;
  let isBetween = false;
  try {
    await makeFolder(parent);
    work = await mkdtemp(join(parent, `.${basename(out)}.partial-`));
    const made = join(work, basename(out));
    await make(made);
    await syncTree(made);
    const before = replace ? await lstat(out).catch(() => null) : null;
    if (before?.isDirectory() || (before && (await lstat(made)).isDirectory())) {
      // No rename replaces a folder. Between these two the old and the new one are both in `work`, where clearUnfinished finds them.
      await syncFolder(work);
      await syncFolder(parent);
      await rename(out, `${made}.old`);
      isBetween = true;
      await rename(made, out).catch(async (error: unknown) => {
        await rename(`${made}.old`, out);
        isBetween = false;
        throw error;
      });
      isBetween = false;
    } else {
      await rename(made, out);
    }
    await syncFolder(parent);
  } catch (error) {
    throw asWriteError(error, out);
  } finally {
    if (work && !isBetween) await rm(work, { recursive: true, force: true });
  }
}

/** Writes a small file as placeWhole does, in the place of the one that is there. */
export function writeFileAtomically(path: string, content: string): Promise<void> {
  return placeWhole(path, (made) => writeFile(made, content), true);
}

/** Removes a file or folder so that a kill or a power cut leaves it whole, or absent but for what clearUnfinished removes. */
export async function removeWhole(path: string): Promise<void> {
  const aside = join(dirname(path), `.${basename(path)}.partial`);
  await rm(aside, { recursive: true, force: true });
  await rename(path, aside);
  await syncFolder(dirname(path));
  await rm(aside, { recursive: true, force: true });
}

/** Removes what killed writers left in a folder that nobody else writes into now; a replacement that was under way is finished. */
export async function clearUnfinished(folder: string): Promise<void> {
  for (const entry of (await readdir(folder).catch(() => [] as string[])).filter(isUnfinished)) {
    const work = join(folder, entry);
    const name = entry.replace(unfinished, '').slice(1);
    const [made, out] = [join(work, name), join(folder, name)];
    // The old one is put away only when the new one is whole.
    if ((await isAny(`${made}.old`)) && (await isAny(made)) && !(await isAny(out))) {
      await rename(made, out);
      await syncFolder(folder);
    }
    await rm(work, { recursive: true, force: true });
  }
}
