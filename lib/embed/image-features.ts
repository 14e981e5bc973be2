import { defaultConcurrency, forEachConcurrently } from '../data/concurrency.js';
import { namingImage, preprocess } from '../data/images/preprocess.js';
import type { Source } from '../data/images/source.js';
import { gather, type Ranks } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import type { WeightsFile } from '../models/kind.js';
import type { NativeEncoder, Precision } from '../native/addon.js';
import { loadAddon } from '../native/load.js';
import { FeatureFile, type FeatureKey } from './feature-file.js';

export interface ImageFeatureOptions {
  precision: Precision;
  /** cpu or cuda:N. */
  device: string;
  /** Images encoded at a time. */
  batchSize: number;
  /** Images decoded at a time. Default: what the cores can use. */
  workers?: number | undefined;
  /** 'model': pixels are normalised as the model's are. 'none': they stay in [0, 1], as the published evaluation leaves them. */
  normalisation: 'model' | 'none';
  /** Folder of the caches; null for none. Several machines need one that they share. */
  cache: string | null;
  ranks: Ranks;
  signal?: AbortSignal | undefined;
  /** Called as images are done, of all ranks together as far as this one knows. */
  onProgress?: (done: number, of: number) => void;
}

/**
 * Features of all images of a source: fp32 [images, dim], un-normalised, on every rank. What a cache of the same model, preprocessing,
 * images and precision has is not computed again, so a call that was killed goes on where it was. Rejects with KueaError
 * `undecodable_image`, naming it, with the signal's reason, and with what caches throw.
 */
export async function imageFeatures(weights: WeightsFile, images: Source, options: ImageFeatureOptions): Promise<Float32Array> {
  const { precision, normalisation, cache, ranks } = options;
  const features = new Float32Array(images.length * weights.dim);
  if (cache === null) {
    if (ranks.worldSize > 1) throw new KueaError('bad_option', 'expected a cache to gather what several ranks compute, found it off');
    await fill(weights, images, options, features, new Uint8Array(images.length), null);
    return features;
  }
  const { mean, std, preprocessing } = weights;
  const key: FeatureKey = {
    model: await weights.fingerprint(),
    preprocessing: JSON.stringify([preprocessing, normalisation === 'model' ? [mean, std] : null]),
    images: await images.fingerprint(),
    precision,
  };
  const file = await FeatureFile.open(cache, key, images.length, weights.dim);
  try {
    const present = await file.read(features);
    // Every rank has looked before one writes: they cut the same missing rows into parts.
    await gather(ranks, 'features begin', true);
    await fill(weights, images, options, features, present, file);
    await gather(ranks, 'features end', true);
    if (ranks.worldSize > 1) await file.read(features);
    return features;
  } finally {
    await file.close();
  }
}

/** Computes this rank's part of the rows that are not `present`. */
async function fill(
  weights: WeightsFile,
  images: Source,
  options: ImageFeatureOptions,
  features: Float32Array,
  present: Uint8Array,
  file: FeatureFile | null,
): Promise<void> {
  const { batchSize, signal, onProgress, ranks } = options;
  const missing = Array.from({ length: images.length }, (_, i) => i).filter((i) => present[i] === 0);
  onProgress?.(images.length - missing.length, images.length);
  const share = Math.ceil(missing.length / ranks.worldSize);
  const mine = missing.slice(ranks.rank * share, (ranks.rank + 1) * share);
  if (mine.length === 0) return;
  const native = await openNative(weights, options);
  try {
    const { dim } = weights;
    const size = weights.preprocessing.crop;
    let pixels = decode(images, mine.slice(0, batchSize), weights, options);
    for (let start = 0; start < mine.length; start += batchSize) {
      signal?.throwIfAborted();
      const rows = mine.slice(start, start + batchSize);
      const ready = await pixels;
      const encoded = native.encode(ready, rows.length, size);
      pixels = decode(images, mine.slice(start + batchSize, start + 2 * batchSize), weights, options);
      const [found] = await Promise.all([encoded, pixels]);
      for (const [from, to] of runsOf(rows)) {
        const part = found.subarray(from * dim, to * dim);
        features.set(part, rows[from]! * dim);
        await file?.write(rows[from]!, part);
      }
      onProgress?.(images.length - missing.length + ranks.worldSize * (start + rows.length), images.length);
    }
  } finally {
    await native.close();
  }
}

/** [from, to) of the places at which rows follow each other. */
function* runsOf(rows: readonly number[]): Generator<[number, number]> {
  for (let from = 0, to = 1; from < rows.length; from = to++) {
    while (to < rows.length && rows[to] === rows[to - 1]! + 1) to++;
    yield [from, to];
  }
}

function openNative(
  { arch, plan, mean, std }: WeightsFile,
  { precision, device, normalisation }: ImageFeatureOptions,
): Promise<NativeEncoder> {
  const statistics = normalisation === 'model' ? { mean, std } : { mean: [0, 0, 0] as typeof mean, std: [1, 1, 1] as typeof std };
  return loadAddon().openEncoder({ arch, weights: plan, ...statistics, precision, device });
}

/** uint8 [rows, 3, S, S]. */
async function decode(
  images: Source,
  rows: readonly number[],
  { preprocessing }: WeightsFile,
  options: ImageFeatureOptions,
): Promise<Uint8Array> {
  const imageBytes = 3 * preprocessing.crop ** 2;
  const pixels = new Uint8Array(rows.length * imageBytes);
  await forEachConcurrently(rows.length, options.workers ?? defaultConcurrency(), async (i) => {
    const row = rows[i]!;
    if (images.kind === 'pixels') return images.copy(row, pixels, i * imageBytes);
    await preprocess(await images.read(row), { ...preprocessing, mode: 'exact' }, pixels, i * imageBytes).catch(
      namingImage(images.name(row)),
    );
  });
  return pixels;
}
