import { createHash } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../errors.js';
import { clearUnfinished, makeFolder, syncTree } from '../files/atomic.js';
import { FolderLock } from '../files/lock.js';
import { replaceWhole } from '../files/output.js';
import { buildHeader, readSafetensors } from '../files/safetensors.js';
import type { CacheSpec } from '../native/addon.js';
import { adoptFormer } from './former-cache.js';
import { checksumOf, readAt, rowBytes } from './rows.js';

/** What the embeddings of a cache depend on; each is compared by itself, so that a new cache can say which one differs. */
export interface CacheKey {
  /** Fingerprint of the student's weights and shape. */
  student: string;
  teacher: string;
  /** Geometry, resampling, statistics and the teacher's size. */
  preprocessing: string;
  data: string;
  precision: string;
}

export interface OpenedCache {
  spec: CacheSpec;
  /** Why no cache that was in the folder is used; absent when there was none or one is used. */
  rebuilt?: string;
}

/** Caches of several keys lie in one folder. */
function fileName(key: CacheKey, rows: number, dims: [number, number]): string {
  const { student, teacher, preprocessing, data, precision } = key;
  const text = JSON.stringify([student, teacher, preprocessing, data, precision, rows, dims]);
  return `embeddings-${createHash('sha256').update(text).digest('hex').slice(0, 16)}.safetensors`;
}

/** One safetensors file: original F32 [rows, d], teacher F32 [rows, d'], checksums U32 [rows]; the key is its metadata. */
async function layout(file: string): Promise<{ spec: CacheSpec; dims: [number, number]; metadata: Record<string, string> }> {
  const { tensors, metadata } = await readSafetensors(file);
  const original = tensors.get('original');
  const teacher = tensors.get('teacher');
  const checksums = tensors.get('checksums');
  if (!original || !teacher || !checksums) throw new KueaError('bad_cache', `${file} is not an embedding cache`);
  const spec = { file, rows: checksums.shape[0] ?? 0, original: original.offset, teacher: teacher.offset, checksums: checksums.offset };
  return { spec, dims: [original.shape[1] ?? 0, teacher.shape[1] ?? 0], metadata };
}

/** In what the cache at `file` differs from the one that is wanted. */
async function differences(file: string, key: CacheKey, rows: number, dims: [number, number]): Promise<string[]> {
  const found = await layout(file);
  const list: string[] = [];
  for (const [part, value] of Object.entries(key)) {
    if (found.metadata[part] !== value)
      list.push(`it was made for ${part} ${found.metadata[part]?.slice(0, 40) ?? '(none)'}, this run has ${value.slice(0, 40)}`);
  }
  if (found.spec.rows !== rows) list.push(`it has ${found.spec.rows} rows, the data has ${rows} images`);
  if (found.dims[0] !== dims[0] || found.dims[1] !== dims[1])
    list.push(`its embeddings have ${found.dims.join(' and ')} dimensions, the models ${dims.join(' and ')}`);
  return list;
}

/** Why the cache of the folder that differs least is not the one that is wanted; nothing when there is none. */
async function whyNone(folder: string, ...wanted: [CacheKey, number, [number, number]]): Promise<string | undefined> {
  const names = (await readdir(folder)).filter((name) => /^embeddings-[0-9a-f]{16}\.safetensors$/.test(name)).sort();
  const lists = await Promise.all(names.map((name) => differences(join(folder, name), ...wanted).catch(() => [])));
  return lists.filter((list) => list.length > 0).sort((a, b) => a.length - b.length)[0]?.[0];
}

/**
 * Opens the cache of `folder` for this key, or makes an empty one. Caches of other keys stay beside it; runs at the same time share one.
 * The new file is sparse: disk is used as rows are filled. Throws KueaError `disk_full`, `unwritable_file` or `bad_out` when not even that
 * is possible.
 */
export async function openCache(folder: string, key: CacheKey, rows: number, dims: [number, number]): Promise<OpenedCache> {
  const file = join(folder, fileName(key, rows, dims));
  try {
    await makeFolder(folder);
    // Two that make one file would each fill its own.
    const lock = await FolderLock.take(folder);
    try {
      await clearUnfinished(folder);
      const found = await layout(file).catch((error: KueaError) => error);
      if (!(found instanceof Error)) return { spec: found.spec };
      const why = found.code === 'file_not_found' ? await whyNone(folder, key, rows, dims) : `it cannot be read (${found.message})`;
      let adopted = false;
      await replaceWhole(file, async (path) => {
        await makeEmpty(path, key, rows, dims);
        adopted = await adoptFormer(folder, (await layout(path)).spec, key);
      });
      return { spec: (await layout(file)).spec, ...(why && !adopted ? { rebuilt: why } : {}) };
    } finally {
      await lock.release();
    }
  } catch (error) {
    if (!(error instanceof KueaError) || !['disk_full', 'unwritable_file', 'bad_out'].includes(error.code)) throw error;
    throw new KueaError(
      error.code,
      `cannot make the embedding cache ${file} (${error.message}): give --cache a folder with room, or --cache off`,
      { cause: error },
    );
  }
}

async function makeEmpty(path: string, key: CacheKey, rows: number, dims: [number, number]): Promise<void> {
  const header = buildHeader(
    [
      { name: 'original', dtype: 'F32', shape: [rows, dims[0]] },
      { name: 'teacher', dtype: 'F32', shape: [rows, dims[1]] },
      { name: 'checksums', dtype: 'U32', shape: [rows] },
    ],
    { ...key },
  );
  const handle = await open(path, 'w');
  try {
    await handle.writeFile(header);
    await handle.truncate(header.byteLength + rows * 4 * (dims[0] + dims[1] + 1));
  } finally {
    await handle.close();
  }
}

/**
 * Makes the rows that were stored survive a power cut. Called before a checkpoint is saved: rows that are computed again in another batch
 * may differ in their last digit, and the resumed run with them.
 */
export function syncCache({ file }: CacheSpec): Promise<void> {
  return syncTree(file);
}

/** Bytes read at a time; checking them takes about a millisecond. */
const chunkBytes = 1 << 20;

/**
 * How many of these rows the cache has: those whose bytes have their checksum, as the addon will see it. The rows that were ever stored are
 * read.
 */
export async function presentRows(spec: CacheSpec, wanted: Iterable<number>): Promise<number> {
  const { rows, original, teacher, checksums } = spec;
  if (rows === 0) return 0;
  const [x, y] = rowBytes(spec);
  const isWanted = new Uint8Array(rows);
  for (const row of wanted) isWanted[row] = 1;
  const handle = await open(spec.file, 'r');
  try {
    const stored = await readAt(handle, checksums, 4 * rows);
    const isStored = (row: number) => isWanted[row] === 1 && stored.readUInt32LE(4 * row) !== 0;
    const perChunk = Math.max(1, Math.floor(chunkBytes / (x + y)));
    let count = 0;
    for (let first = 0; first < rows; first += perChunk) {
      const chunk = Array.from({ length: Math.min(perChunk, rows - first) }, (_, i) => i).filter((i) => isStored(first + i));
      if (chunk.length === 0) continue;
      const length = chunk.at(-1)! + 1;
      const xs = await readAt(handle, original + first * x, length * x);
      const ys = await readAt(handle, teacher + first * y, length * y);
      for (const i of chunk) {
        const checksum = checksumOf(xs.subarray(i * x, (i + 1) * x), ys.subarray(i * y, (i + 1) * y));
        if (checksum === stored.readUInt32LE(4 * (first + i))) count++;
      }
    }
    return count;
  } finally {
    await handle.close();
  }
}
