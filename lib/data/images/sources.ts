import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import { openImageFolder } from './image-folder.js';
import { openPixelFile } from './pixel-file.js';
import { expandShards, isPattern, shardOrder } from './shard-patterns.js';
import { imageExtensions, type Source } from './source.js';
import { openTarShards } from './tar-shards.js';

const kinds =
  'a folder of images, a folder of .tar shards, a .tar, a pattern such as "shards/{000..146}.tar", or a .safetensors file with "pixels"';

/**
 * Opens the images that `ref` names: a folder of images (ImageFolder tree or flat), a folder of WebDataset .tar shards, one .tar, a brace
 * or glob pattern of them, or a .safetensors file holding `pixels` uint8 [N, 3, S, S]. Throws KueaError `data_not_found` (nothing there),
 * `data_empty` (no image in it), `data_format` (a file of another kind), and what the kinds throw.
 */
export async function openSource(ref: string): Promise<Source> {
  const found = await stat(ref).catch(() => null);
  if (!found) {
    if (isPattern(ref)) return nonEmpty(await openTarShards(await expandShards(ref)), ref);
    throw new KueaError('data_not_found', `expected ${kinds}, found nothing at ${ref}`);
  }
  if (found.isDirectory()) return openFolder(ref);
  if (/\.safetensors$/i.test(ref)) return nonEmpty(await openPixelFile(ref), ref);
  if (/\.(tar|tar\.gz|tgz)$/i.test(ref)) return nonEmpty(await openTarShards([ref]), ref);
  throw new KueaError('data_format', `expected ${kinds}, found the file ${ref}`);
}

async function openFolder(folder: string): Promise<Source> {
  const images = await openImageFolder(folder);
  const shards = (await readdir(folder)).filter((name) => /^[^.].*\.(tar|tar\.gz|tgz)$/i.test(name)).sort(shardOrder);
  if (images.length > 0 && shards.length > 0) {
    throw new KueaError(
      'data_format',
      `expected images or .tar shards in ${folder}, found both: name the shards with a pattern such as "${folder}/*.tar", or the folder ` +
        `of the images`,
    );
  }
  if (shards.length > 0) return nonEmpty(await openTarShards(shards.map((name) => join(folder, name))), folder);
  return nonEmpty(images, folder);
}

async function nonEmpty(source: Source, ref: string): Promise<Source> {
  if (source.length > 0) return source;
  await source.close();
  const looked =
    source.kind === 'pixels' ? 'in its "pixels"' : `with the extensions ${imageExtensions.join(', ')} (folders are searched to the bottom)`;
  throw new KueaError('data_empty', `expected at least one image in ${ref}, found none ${looked}`);
}
