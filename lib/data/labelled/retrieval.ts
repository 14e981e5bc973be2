import { dirname, join } from 'node:path';

import { KueaError } from '../../errors.js';
import { checkImages } from '../conversations/preflight.js';
import { listedImages } from '../images/image-folder.js';
import type { EncodedSource } from '../images/source.js';
import { readAnnotations } from './annotations.js';
import { checkCount } from './named.js';
import { findPlace, type Place, type PlaceOptions } from './place.js';
import { bytesOf, fingerprintOf, type RetrievalSet } from './sets.js';
import { readShards, shardFiles, shardsType } from './shards.js';
import { splitLines, utf8 } from './text-files.js';

export interface RetrievalOptions extends PlaceOptions {
  /** Folder of the images of a file of captions. Default: the file's own. */
  images?: string | undefined;
}

interface Captioned {
  images: EncodedSource;
  /** Of image i. */
  captions: readonly (readonly string[])[];
  notes: string[];
}

/**
 * Opens images with their captions: a folder in CLIP_benchmark's webdataset layout with dataset_type.txt = retrieval, or a file that
 * `readAnnotations` reads. Captions are in the order of their images. Throws KueaError `data_not_found`, `data_empty`, `split_not_found`,
 * `wrong_task`, `wrong_count`, `missing_images`, `bad_annotations`, `bad_labels`, and what reading tars and the hub throws.
 */
export async function openRetrieval(place: Place, options: RetrievalOptions = {}): Promise<RetrievalSet> {
  const { split = 'test', allowPartial = false, signal } = options;
  const { path, isFolder, set } = await findPlace(place, split, ['retrieval'], options);
  const found = isFolder ? await fromShards(path, split, signal) : await fromFile(path, split, options);
  if (found.images.length === 0) throw new KueaError('data_empty', `expected images in the split ${split} of ${path}, found none`);
  const captions = found.captions.flat();
  const owner = Uint32Array.from(found.captions.flatMap((own, i) => own.map(() => i)));
  if (set && !allowPartial) {
    checkCount(set, `images in the split ${split}`, set.images[split], found.images.length);
    checkCount(set, `captions in the split ${split}`, set.captions?.[split], captions.length);
  }
  return {
    images: found.images,
    captions,
    owner,
    notes: found.notes,
    fingerprint: fingerprintOf('captioned images', found.images, () => [bytesOf(owner), JSON.stringify(captions)]),
    close: () => found.images.close(),
  };
}

async function fromShards(folder: string, split: string, signal: AbortSignal | undefined): Promise<Captioned> {
  const type = await shardsType(folder);
  if (type !== 'retrieval')
    throw new KueaError(
      'wrong_task',
      `expected images with captions in ${folder}, that is "retrieval" in its dataset_type.txt, found ${type}: name a file of captions ` +
        `where the folder holds images alone`,
    );
  const { images, answers, notes } = await readShards(await shardFiles(folder, split), 'txt', captionsOf, signal);
  return { images, captions: answers, notes };
}

/** A caption a line. The text \n, by which CLIP_benchmark's converter writes a line end within a caption, stays: it reads it so too. */
function captionsOf(bytes: Buffer, place: string): string[] {
  const captions = splitLines(utf8(bytes, `the .txt file of ${place}`));
  if (captions.length === 0) throw new KueaError('bad_labels', `expected a caption a line in the .txt file of ${place}, found none`);
  return captions;
}

async function fromFile(file: string, split: string, options: RetrievalOptions): Promise<Captioned> {
  const folder = options.images ?? dirname(file);
  const images = await readAnnotations(file, split);
  const paths = images.map(({ path }) => path);
  const faults = await checkImages(folder, paths, { verify: false, concurrency: 64, signal: options.signal });
  const first = paths.find((path) => faults.has(path));
  if (first !== undefined)
    throw new KueaError(
      'missing_images',
      `expected the ${paths.length} images of ${file} below ${folder}, found ${faults.size} that cannot be used, such as ` +
        `${join(folder, first)} (${faults.get(first)!}): name their folder with --images`,
    );
  return { images: listedImages(folder, paths), captions: images.map(({ captions }) => captions), notes: [] };
}
