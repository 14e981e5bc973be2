import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../errors.js';

type Triple = [number, number, number];

/** What pixels in [0, 1] are normalised with, RGB. */
export interface ImageStatistics {
  mean: Triple;
  std: Triple;
}

/** Shortest side to `resize`, then the centre `crop` x `crop`; `centre` as in lib/data/geometry.ts. */
export interface Geometry {
  resize: number;
  crop: number;
  centre?: 'even' | 'down';
}

export const clipStatistics: ImageStatistics = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] };
export const imagenetStatistics: ImageStatistics = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

const isTriple = (v: unknown): v is Triple => Array.isArray(v) && v.length === 3 && v.every((x) => typeof x === 'number');

/** A side of Hugging Face's `size` or `crop_size`: a number, {shortest_edge}, or {height, width}. */
function side(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  const { shortest_edge: shortest, height, width } = (value ?? {}) as Record<string, unknown>;
  if (typeof shortest === 'number') return shortest;
  return typeof height === 'number' && height === width ? height : undefined;
}

/**
 * How a model's images are prepared: preprocessor_config.json if its folder has one, else open_clip's preprocess_cfg, else the defaults and
 * shortest side = crop = `size`. Throws KueaError `unsupported_preprocessing` for a resampling other than bicubic.
 */
export async function readPreprocessing(
  folder: string | undefined,
  openClip: Record<string, unknown> | null,
  defaults: ImageStatistics,
  size: number,
): Promise<ImageStatistics & { preprocessing: Geometry }> {
  const pick = (value: unknown, fallback: Triple) => (isTriple(value) ? value : fallback);
  const text = folder ? await readFile(join(folder, 'preprocessor_config.json'), 'utf8').catch(() => null) : null;
  if (text !== null) {
    let config: Record<string, unknown>;
    try {
      config = JSON.parse(text) as Record<string, unknown>;
    } catch (cause) {
      throw new KueaError('bad_config', `expected JSON in ${join(folder!, 'preprocessor_config.json')}: ${(cause as Error).message}`, {
        cause,
      });
    }
    const resample = config['resample'] ?? 3;
    if (resample !== 3)
      throw new KueaError(
        'unsupported_preprocessing',
        `expected bicubic resampling (3) in preprocessor_config.json of ${folder}, found ${String(resample)}`,
      );
    const resize = side(config['size']) ?? size;
    const crop = config['do_center_crop'] === false ? resize : (side(config['crop_size']) ?? resize);
    return {
      mean: pick(config['image_mean'], defaults.mean),
      std: pick(config['image_std'], defaults.std),
      preprocessing: { resize, crop, centre: 'down' },
    };
  }
  const preprocess = (openClip?.['preprocess_cfg'] ?? {}) as Record<string, unknown>;
  return {
    mean: pick(preprocess['mean'], defaults.mean),
    std: pick(preprocess['std'], defaults.std),
    preprocessing: { resize: size, crop: size },
  };
}
