import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';

import { KueaError } from '../../errors.js';
import { readSafetensors } from '../../files/safetensors.js';
import { openRegular, readAt } from '../../regular-file.js';
import type { PixelSource } from './source.js';

/**
 * A .safetensors file whose tensor `pixels`, uint8 [N, 3, S, S] in RGB, is taken as it is. Throws KueaError `data_format` when there is no
 * such tensor, and what reading the header throws.
 */
export async function openPixelFile(file: string): Promise<PixelSource> {
  const header = await readSafetensors(file);
  const pixels = header.tensors.get('pixels');
  const [count, channels, height, width] = pixels?.shape ?? [];
  if (pixels?.dtype !== 'U8' || pixels.shape.length !== 4 || channels !== 3 || height !== width) {
    const found = pixels ? `${pixels.dtype} [${pixels.shape.join(', ')}]` : 'no such tensor';
    throw new KueaError('data_format', `expected "pixels" as U8 [N, 3, S, S] in ${file}, found ${found}`);
  }
  return new PixelFile((await openRegular(file)).handle, count!, width!, pixels.offset);
}

class PixelFile implements PixelSource {
  readonly kind = 'pixels';

  constructor(
    private readonly handle: FileHandle,
    readonly length: number,
    readonly size: number,
    /** Of image 0 in the file, bytes. */
    private readonly start: number,
  ) {}

  name(i: number): string {
    return `pixels[${i}]`;
  }

  async copy(i: number, target: Uint8Array, offset: number): Promise<void> {
    const bytes = 3 * this.size ** 2;
    for (let done = 0; done < bytes; ) {
      const { bytesRead } = await this.handle.read(target, offset + done, bytes - done, this.start + i * bytes + done);
      if (bytesRead === 0)
        throw new KueaError(
          'data_format',
          `expected ${bytes} bytes of ${this.name(i)}, found the end of the file: it shrank while it was read`,
        );
      done += bytesRead;
    }
  }

  /** Covers the header (names, shapes, other metadata) and the file's size in bytes; not the pixels. */
  async fingerprint(): Promise<string> {
    const hash = createHash('sha256').update('kuea pixels 1\n');
    return hash
      .update(await readAt(this.handle, 0, this.start))
      .update(`${(await this.handle.stat()).size}`)
      .digest('hex');
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}
