import { basename, dirname, join } from 'node:path';

import { KueaError, named, reason, shown } from '../errors.js';
import { readRegular } from '../regular-file.js';
import { readSafetensors } from './safetensors.js';
import type { Tensors } from './tensors.js';
import { readTorchFile } from './torch-file.js';

export interface TensorFile {
  tensors: Tensors;
  metadata: Record<string, string>;
  /** Whether it is a TorchScript archive, as OpenAI's CLIP files are. */
  torchScript: boolean;
}

/**
 * Names and places of the tensors of a weights file, or of a model in several (`*.index.json`). Nothing is loaded. Throws KueaError
 * `bad_weights`, and what the readers of each format throw.
 */
export async function readTensors(path: string): Promise<TensorFile> {
  if (path.endsWith('.index.json')) return readShards(path);
  if (path.endsWith('.safetensors')) return { ...(await readSafetensors(path)), torchScript: false };
  if (/\.(pt|pth|bin|ckpt)$/.test(path)) return { ...(await readTorchFile(path)), metadata: {} };
  throw new KueaError('bad_weights', `expected a .safetensors, .pt, .pth or .bin file, found ${path}`);
}

/** Of an index in bytes, at most; 1000 tensors take 100 kB. */
const largestIndex = 1 << 26;

/** What file systems take. */
const longestFileName = 255;

/** The index maps each tensor to the file beside it that holds it. */
async function readShards(index: string): Promise<TensorFile> {
  const bad = (why: string, cause?: unknown) =>
    new KueaError('bad_index', `${index} is not a sound index of a model in several files: ${why}; fetch it again`, { cause });
  const text = (await readRegular(index, largestIndex)).toString('utf8');
  let map: Record<string, unknown>;
  try {
    map = (JSON.parse(text) as { weight_map: Record<string, unknown> }).weight_map;
  } catch (cause) {
    throw bad(reason(cause), cause);
  }
  if (typeof map !== 'object' || map === null) throw bad('it has no weight_map');
  const shards = new Map<string, TensorFile>();
  const merged: TensorFile = { tensors: new Map(), metadata: {}, torchScript: false };
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || basename(file) !== file || file.length > longestFileName || !/\.(safetensors|bin)$/.test(file))
      throw bad(`it says that ${named(name)} lies in ${shown(file)}, which is no weights file beside it`);
    if (!shards.has(file)) shards.set(file, await readTensors(join(dirname(index), file)));
    const tensor = shards.get(file)!.tensors.get(name);
    if (!tensor) throw bad(`${named(file)} has no tensor ${named(name)}`);
    merged.tensors.set(name, tensor);
  }
  for (const { metadata } of shards.values()) Object.assign(merged.metadata, metadata);
  return merged;
}
