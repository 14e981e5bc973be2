import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { KueaError } from '../errors.js';
import { type FetchOptions, isHubId } from '../files/hub/fetch.js';
import { chooseWeights, fetchModel } from './fetch-model.js';

export type Json = Record<string, unknown>;

/** An object out of a JSON file, or null when there is no such file. Throws KueaError `bad_config`. */
export async function readJson(folder: string, name: string): Promise<Json | null> {
  const text = await readFile(join(folder, name), 'utf8').catch(() => null);
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('it holds no object');
    return value as Json;
  } catch (cause) {
    throw new KueaError('bad_config', `expected JSON in ${join(folder, name)}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * The weights file of a reference, and the folder around it when that is a model folder. Throws KueaError `weights_not_found`, and what the
 * hub throws.
 */
export async function resolveModel(ref: string, options: FetchOptions = {}): Promise<{ path: string; folder?: string }> {
  let info = await stat(ref).catch(() => null);
  let folder = ref;
  if (!info && isHubId(ref)) {
    folder = await fetchModel(ref, options);
    info = await stat(folder);
  }
  if (!info)
    throw new KueaError(
      'weights_not_found',
      `expected a model folder, a weights file or a hub id such as openai/clip-vit-base-patch16, found nothing at ${ref}`,
    );
  if (!info.isDirectory()) {
    // A weights file inside a model folder is that folder's model.
    const around = dirname(ref);
    return (await readJson(around, 'config.json')) && chooseWeights([basename(ref)]) ? { path: ref, folder: around } : { path: ref };
  }
  const names = await readdir(folder);
  const chosen = chooseWeights(names);
  if (chosen) return { path: join(folder, chosen), folder };
  if (names.includes('adapter_config.json'))
    throw new KueaError(
      'weights_not_found',
      `expected a model, found an adapter in ${folder}: name its base with --model, and this folder with --adapter`,
    );
  throw new KueaError(
    'weights_not_found',
    `expected model.safetensors, open_clip_model.safetensors or pytorch_model.bin in ${folder}, found none of them`,
  );
}
