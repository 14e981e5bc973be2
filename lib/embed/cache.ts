import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { KueaError } from '../errors.js';
import { buildHeader, readSafetensors } from '../files/safetensors.js';
import type { CacheSpec } from '../native/addon.js';

/** What the embeddings of a cache depend on; each is compared by itself, so that a rebuild can say which one differs. */
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
  /** Why an existing cache was not used; absent when there was none or it is used. */
  rebuilt?: string;
}

const fileName = 'embeddings.safetensors';

/** One safetensors file: original F32 [rows, d], teacher F32 [rows, d'], present U8 [rows]; the key is its metadata. */
async function layout(file: string): Promise<{ spec: CacheSpec; dims: [number, number]; metadata: Record<string, string> }> {
  const { tensors, metadata } = await readSafetensors(file);
  const original = tensors.get('original');
  const teacher = tensors.get('teacher');
  const present = tensors.get('present');
  if (!original || !teacher || !present) throw new KueaError('bad_cache', `${file} is not an embedding cache`);
  const spec = { file, rows: present.shape[0] ?? 0, original: original.offset, teacher: teacher.offset, present: present.offset };
  return { spec, dims: [original.shape[1] ?? 0, teacher.shape[1] ?? 0], metadata };
}

async function mismatch(file: string, key: CacheKey, rows: number, dims: [number, number]): Promise<{ spec?: CacheSpec; why?: string }> {
  try {
    const found = await layout(file);
    for (const [part, value] of Object.entries(key)) {
      if (found.metadata[part] !== value)
        return { why: `it was made for ${part} ${found.metadata[part]?.slice(0, 40) ?? '(none)'}, this run has ${value.slice(0, 40)}` };
    }
    if (found.spec.rows !== rows) return { why: `it has ${found.spec.rows} rows, the data has ${rows} images` };
    if (found.dims[0] !== dims[0] || found.dims[1] !== dims[1])
      return { why: `its embeddings have ${found.dims.join(' and ')} dimensions, the models ${dims.join(' and ')}` };
    return { spec: found.spec };
  } catch (error) {
    if (error instanceof KueaError && error.code === 'file_not_found') return {};
    return { why: `it cannot be read (${(error as Error).message})` };
  }
}

/**
 * Opens the cache of `folder` for this key, or makes an empty one in its place. The new file is sparse: disk is used as rows are filled.
 * Throws KueaError `disk_full` when not even that is possible.
 */
export async function openCache(folder: string, key: CacheKey, rows: number, dims: [number, number]): Promise<OpenedCache> {
  const file = join(folder, fileName);
  await mkdir(folder, { recursive: true });
  const { spec, why } = await mismatch(file, key, rows, dims);
  if (spec) return { spec };

  const entries = [
    { name: 'original', dtype: 'F32' as const, shape: [rows, dims[0]] },
    { name: 'teacher', dtype: 'F32' as const, shape: [rows, dims[1]] },
    { name: 'present', dtype: 'U8' as const, shape: [rows] },
  ];
  const header = buildHeader(entries, { ...key });
  const partial = `${file}.${process.pid}.partial`;
  const handle = await open(partial, 'w');
  try {
    await handle.writeFile(header);
    await handle.truncate(header.byteLength + rows * (4 * dims[0] + 4 * dims[1] + 1));
  } catch (cause) {
    await rm(partial, { force: true });
    throw new KueaError(
      'disk_full',
      `cannot make the embedding cache ${file}: ${(cause as Error).message}; give --cache a folder with room, or --cache off`,
      { cause },
    );
  } finally {
    await handle.close();
  }
  await rename(partial, file);
  return { spec: (await layout(file)).spec, ...(why ? { rebuilt: why } : {}) };
}

/** How many of these rows the cache has. */
export async function presentRows(spec: CacheSpec, wanted: Iterable<number>): Promise<number> {
  const flags = Buffer.alloc(spec.rows);
  const handle = await open(spec.file, 'r');
  try {
    await handle.read(flags, 0, spec.rows, spec.present);
  } finally {
    await handle.close();
  }
  let count = 0;
  for (const row of wanted) count += flags[row] ?? 0;
  return count;
}
