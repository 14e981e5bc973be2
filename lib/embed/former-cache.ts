import { open } from 'node:fs/promises';
import { join } from 'node:path';

import { readSafetensors } from '../files/safetensors.js';
import type { CacheSpec } from '../native/addon.js';
import type { CacheKey } from './cache.js';
import { checksumOf, readAt, rowBytes } from './rows.js';

/**
 * Fills the empty cache `to` with the rows of the one that version 0.1 kept in this folder, if it is of the same key; whether it was. A run
 * that 0.1 began goes on to the same bits by them: computed again in another batch, a row may differ in its last digit. 0.1 had a flag a
 * row, which a power cut could keep without the row: one with a number that is exactly 0, which no embedding has, is left out.
 */
export async function adoptFormer(folder: string, to: CacheSpec, key: CacheKey): Promise<boolean> {
  const { rows } = to;
  const file = join(folder, 'embeddings.safetensors');
  const found = await readSafetensors(file).catch(() => null);
  const former = ['original', 'teacher', 'present'].map((name) => found?.tensors.get(name));
  const [original, teacher, present] = former;
  const [x, y] = rowBytes(to);
  const isSame = (tensor: (typeof former)[number], bytes: number) =>
    tensor?.shape[0] === rows && 4 * (tensor.shape[1] ?? 0) === bytes && tensor.dtype === 'F32';
  if (!original || !teacher || !present || !isSame(original, x) || !isSame(teacher, y) || present.shape[0] !== rows) return false;
  if (Object.entries(key).some(([part, value]) => found!.metadata[part] !== value)) return false;

  const source = await open(file);
  const target = await open(to.file, 'r+');
  try {
    const flags = await readAt(source, present.offset, rows);
    const checksum = Buffer.alloc(4);
    for (let row = 0; row < rows; row++) {
      if (flags[row] !== 1) continue;
      const xs = await readAt(source, original.offset + row * x, x);
      const ys = await readAt(source, teacher.offset + row * y, y);
      if (hasZero(xs) || hasZero(ys)) continue;
      checksum.writeUInt32LE(checksumOf(xs, ys));
      await target.write(xs, 0, x, to.original + row * x);
      await target.write(ys, 0, y, to.teacher + row * y);
      await target.write(checksum, 0, 4, to.checksums + row * 4);
    }
  } finally {
    await source.close();
    await target.close();
  }
  return true;
}

function hasZero(bytes: Buffer): boolean {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4).includes(0);
}
