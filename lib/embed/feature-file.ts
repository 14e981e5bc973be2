import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

import { KueaError } from '../errors.js';
import { asWriteError, clearUnfinished, makeFolder } from '../files/atomic.js';
import { FolderLock } from '../files/lock.js';
import { replaceWhole } from '../files/output.js';
import { buildHeader, readSafetensors } from '../files/safetensors.js';

/** What image features depend on, in words. */
export type FeatureKey = Record<'model' | 'preprocessing' | 'images' | 'precision', string>;

/**
 * Features of a set of images in one safetensors file: features F32 [rows, width] and checksums U32 [rows], the CRC-32 of a row's bytes, or
 * 0 where it is absent. Rows are written as they are made, by several processes side by side; one whose bytes are others than its checksum
 * says (after a power cut, say) is absent.
 */
export class FeatureFile {
  private constructor(
    private readonly handle: FileHandle,
    readonly path: string,
    private readonly rows: number,
    private readonly rowBytes: number,
    private readonly features: number,
    private readonly checksums: number,
  ) {}

  /** Opens the file of this key in `folder`, or makes an empty one. Throws KueaError `bad_out`, `disk_full`, `unwritable_file`. */
  static async open(folder: string, key: FeatureKey, rows: number, width: number): Promise<FeatureFile> {
    const text = JSON.stringify([key.model, key.preprocessing, key.images, key.precision, rows, width]);
    const path = join(folder, `features-${createHash('sha256').update(text).digest('hex').slice(0, 16)}.safetensors`);
    await makeFolder(folder);
    // Two that make one file would each fill its own.
    const lock = await FolderLock.take(folder);
    try {
      await clearUnfinished(folder);
      const found = await readSafetensors(path).catch(() => null);
      if (!found) await replaceWhole(path, (made) => makeEmpty(made, key, rows, width));
      const { tensors } = await readSafetensors(path);
      const [features, checksums] = [tensors.get('features'), tensors.get('checksums')];
      if (!features || !checksums) throw new KueaError('bad_cache', `expected features and checksums in ${path}, found others: remove it`);
      return new FeatureFile(await open(path, 'r+'), path, rows, 4 * width, features.offset, checksums.offset);
    } finally {
      await lock.release();
    }
  }

  /** Fills `target`, fp32 [rows, width], with what the file has; 1 for each row that it has. */
  async read(target: Float32Array): Promise<Uint8Array> {
    const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    const stored = Buffer.alloc(4 * this.rows);
    await readAll(this.handle, stored, this.checksums);
    const present = new Uint8Array(this.rows);
    const perChunk = Math.max(1, Math.floor((4 << 20) / this.rowBytes));
    for (let first = 0; first < this.rows; first += perChunk) {
      const last = Math.min(first + perChunk, this.rows);
      await readAll(this.handle, bytes.subarray(first * this.rowBytes, last * this.rowBytes), this.features + first * this.rowBytes);
      for (let row = first; row < last; row++) {
        const checksum = checksumOf(bytes.subarray(row * this.rowBytes, (row + 1) * this.rowBytes));
        present[row] = stored.readUInt32LE(4 * row) === checksum ? 1 : 0;
      }
    }
    return present;
  }

  /** Writes consecutive rows. Throws KueaError `disk_full`. */
  async write(row: number, data: Float32Array): Promise<void> {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const count = bytes.length / this.rowBytes;
    const checksums = Buffer.alloc(4 * count);
    for (let i = 0; i < count; i++) {
      checksums.writeUInt32LE(checksumOf(bytes.subarray(i * this.rowBytes, (i + 1) * this.rowBytes)), 4 * i);
    }
    try {
      await this.handle.write(bytes, 0, bytes.length, this.features + row * this.rowBytes);
      await this.handle.write(checksums, 0, checksums.length, this.checksums + 4 * row);
    } catch (error) {
      throw asWriteError(error, this.path);
    }
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Never 0, which stands for an absent row. */
const checksumOf = (row: Uint8Array) => crc32(row) || 1;

async function makeEmpty(path: string, key: FeatureKey, rows: number, width: number): Promise<void> {
  const header = buildHeader(
    [
      { name: 'features', dtype: 'F32', shape: [rows, width] },
      { name: 'checksums', dtype: 'U32', shape: [rows] },
    ],
    { ...key },
  );
  const handle = await open(path, 'w');
  try {
    await handle.writeFile(header);
    await handle.truncate(header.byteLength + rows * 4 * (width + 1));
  } finally {
    await handle.close();
  }
}

async function readAll(handle: FileHandle, target: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await handle.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) throw new KueaError('bad_cache', 'expected the rows of a cache of features, found its end: remove it');
    done += bytesRead;
  }
}
