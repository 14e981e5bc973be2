import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';

import type { CacheSpec } from '../native/addon.js';

/** Bytes of a row's two embeddings. */
export function rowBytes({ rows, original, teacher, checksums }: CacheSpec): [number, number] {
  return [(teacher - original) / rows, (checksums - teacher) / rows];
}

/** As the addon computes it (native/train/embedding_cache.cpp): 0 is of a row that is absent. */
export function checksumOf(original: Uint8Array, teacher: Uint8Array): number {
  return crc32(teacher, crc32(original)) || 1;
}

/** What a file that was cut short lacks is zeros. */
export async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(length - done, 1 << 30), position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes;
}
