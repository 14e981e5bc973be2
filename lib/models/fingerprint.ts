import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { itemSizes } from '../files/safetensors.js';
import type { Arch, LoadStep, TensorBytes } from '../native/addon.js';

/** Bytes that a tensor spans in its file. */
function span({ dtype, shape, strides }: TensorBytes): number {
  if (shape.includes(0)) return 0;
  return (
    itemSizes[dtype]! *
    (strides ? shape.reduce((last, side, i) => last + (side - 1) * strides[i]!, 1) : shape.reduce((product, side) => product * side, 1))
  );
}

/** Hex SHA-256 over architecture, names and all bytes of a plan. */
export async function fingerprint(arch: Arch, plan: readonly LoadStep[]): Promise<string> {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(arch));
  for (const { parameter, row, transpose, source } of plan) {
    const { file, offset, dtype, shape, strides } = source;
    hash.update(JSON.stringify([parameter, row, transpose, dtype, shape, strides]));
    const bytes = span(source);
    if (bytes === 0) continue;
    for await (const chunk of createReadStream(file, { start: offset, end: offset + bytes - 1, highWaterMark: 1 << 20 }))
      hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}

const sample = 4096;

/**
 * Hex SHA-256 over names, dtypes, shapes and the first, middle and last 4096 bytes of each tensor: tells 7B models apart without reading
 * one.
 */
export async function sampledFingerprint(tensors: readonly { name: string; source: TensorBytes }[]): Promise<string> {
  const hash = createHash('sha256');
  const handles = new Map<string, FileHandle>();
  const buffer = Buffer.alloc(sample);
  try {
    for (const { name, source } of tensors) {
      const { file, offset, dtype, shape } = source;
      hash.update(JSON.stringify([name, dtype, shape]));
      const handle = handles.get(file) ?? (await open(file));
      handles.set(file, handle);
      const bytes = span(source);
      for (const start of [0, Math.floor((bytes - sample) / 2), bytes - sample]) {
        const { bytesRead } = await handle.read(buffer, 0, Math.min(sample, bytes), offset + Math.max(0, start));
        hash.update(buffer.subarray(0, bytesRead));
      }
    }
  } finally {
    for (const handle of handles.values()) await handle.close();
  }
  return hash.digest('hex');
}
