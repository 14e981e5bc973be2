import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';

import { KueaError } from '../../errors.js';
import { readSafetensors } from '../../files/safetensors.js';
import { openRegular } from '../../regular-file.js';
import { ignoreLabel, imageToken } from '../../text/vicuna.js';
import type { Sample, SampleSource } from './source.js';

export interface TokenizedOptions {
  /** The id that stands for an image feature in the file; llava-hf's image_token_index. */
  imageToken: number;
  patches: number;
  /** Side in pixels that the model takes. */
  size: number;
  maxLength: number;
}

/** Row `row` of I64 [rows, length] as 32-bit numbers. */
async function readRow(handle: FileHandle, file: string, name: string, start: number, row: number, length: number): Promise<Int32Array> {
  const words = new Int32Array(2 * length);
  await readWhole(handle, file, new Uint8Array(words.buffer), 0, words.byteLength, start + row * words.byteLength);
  return Int32Array.from({ length }, (_, i) => {
    const [low, high] = [words[2 * i]!, words[2 * i + 1]!];
    if (high !== low >> 31)
      throw new KueaError('data_format', `expected ids in ${name} of ${file}, found a number beyond 32 bits at [${row}, ${i}]`);
    return low;
  });
}

async function readWhole(
  handle: FileHandle,
  file: string,
  target: Uint8Array,
  offset: number,
  bytes: number,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await handle.read(target, offset + done, bytes - done, position + done);
    if (bytesRead === 0)
      throw new KueaError('data_changed', `expected ${bytes} bytes at ${position} of ${file}, found its end: it shrank while it was read`);
    done += bytesRead;
  }
}

/**
 * Samples that are ids already: a .safetensors file with `input_ids` I64 [N, L], in which `imageToken` stands once a patch, `labels` I64
 * [N, L] (-100: not learnt) and `pixel_values` F32 [N, 3, S, S], normalised. What follows a row's last label (padding, say) has no part in
 * the loss and is left out. Throws KueaError `data_format` and what reading the header throws; a sample's `read` rejects so when its image
 * is not whole.
 */
export async function openTokenizedFile(file: string, options: TokenizedOptions): Promise<SampleSource> {
  const { tensors } = await readSafetensors(file);
  const { patches, size, maxLength } = options;
  const tensor = (name: string, dtype: string, fits: (shape: number[]) => boolean, shape: string) => {
    const found = tensors.get(name);
    if (!found || found.dtype !== dtype || !fits(found.shape)) {
      throw new KueaError(
        'data_format',
        `expected "${name}" as ${dtype} ${shape} in ${file}, found ` +
          `${found ? `${found.dtype} [${found.shape.join(', ')}]` : 'no such tensor'}`,
      );
    }
    return found;
  };
  const ids = tensor('input_ids', 'I64', (shape) => shape.length === 2, '[N, L]');
  const [rows = 0, length = 0] = ids.shape;
  const labels = tensor('labels', 'I64', ([n, l, ...more]) => n === rows && l === length && more.length === 0, `[${rows}, ${length}]`);
  const pixels = tensor('pixel_values', 'F32', (shape) => `${shape}` === `${[rows, 3, size, size]}`, `[${rows}, 3, ${size}, ${size}]`);
  const imageBytes = 4 * 3 * size ** 2;
  const { handle } = await openRegular(file);
  return {
    length: rows,
    pixels: 'f32',
    lengths: new Int32Array(rows).fill(length),
    skipped: 0,
    name: (i) => `row ${i}`,

    async read(i): Promise<Sample> {
      const found = await readRow(handle, file, 'input_ids', ids.offset, i, length);
      const places = found.filter((id) => id === options.imageToken).length;
      if (places !== 0 && places !== patches) {
        throw new KueaError(
          'data_format',
          `expected the image token ${options.imageToken} ${patches} times (once a patch) or never in row ${i} of ${file}, found it ` +
            `${places} times`,
        );
      }
      const learnt = await readRow(handle, file, 'labels', labels.offset, i, length);
      const end = Math.min(maxLength, learnt.findLastIndex((label) => label !== ignoreLabel) + 1);
      return {
        tokens: found.subarray(0, end).map((id) => (id === options.imageToken ? imageToken : id)),
        labels: learnt.subarray(0, end),
        copyPixels: (target, offset) => readWhole(handle, file, target, offset, imageBytes, pixels.offset + i * imageBytes),
      };
    },

    /** Covers the file's bytes. */
    async fingerprint() {
      const hash = createHash('sha256').update('kuea tokenized 1\n');
      for await (const chunk of handle.createReadStream({ start: 0, autoClose: false })) hash.update(chunk as Buffer);
      return hash.digest('hex');
    },

    close: () => handle.close(),
  };
}
