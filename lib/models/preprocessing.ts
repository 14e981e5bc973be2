import { KueaError, shown } from '../errors.js';
import { section } from './config.js';
import type { ModelFile } from './kind.js';
import { type Json, readJson } from './model-folder.js';
import { largestSide, ownPreprocessing } from './own-metadata.js';

type Triple = [number, number, number];

/** What pixels in [0, 1] are normalised with, RGB. */
export interface ImageStatistics {
  mean: Triple;
  std: Triple;
}

/** Shortest side to `resize`, then the centre `crop` x `crop`; `centre` as in lib/data/images/geometry.ts. */
export interface Geometry {
  resize: number;
  crop: number;
  centre?: 'even' | 'down';
}

export type Preprocessing = ImageStatistics & { preprocessing: Geometry };

export const clipStatistics: ImageStatistics = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] };
export const imagenetStatistics: ImageStatistics = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

const isTriple = (v: unknown): v is Triple => Array.isArray(v) && v.length === 3 && v.every(Number.isFinite);

function unsupported(what: string, where: string, found: unknown): KueaError {
  return new KueaError('unsupported_preprocessing', `expected ${what} in ${where}, found ${shown(found)}`);
}

/** Throws KueaError `bad_config`. */
function statistics(where: string, config: Json, keys: { mean: string; std: string }, defaults: ImageStatistics): ImageStatistics {
  const pick = (key: string, otherwise: Triple, isSound: (x: number) => boolean) => {
    const value = config[key] ?? otherwise;
    if (isTriple(value) && value.every(isSound)) return value;
    throw new KueaError(
      'bad_config',
      `expected three ${key === keys.std ? 'positive ' : ''}numbers for ${key} in ${where}, found ${shown(value)}`,
    );
  };
  return { mean: pick(keys.mean, defaults.mean, () => true), std: pick(keys.std, defaults.std, (x) => x > 0) };
}

function checkedSide(where: string, key: string, value: unknown): number {
  if (Number.isInteger(value) && (value as number) > 0 && (value as number) <= largestSide) return value as number;
  throw new KueaError('bad_config', `expected a side from 1 to ${largestSide} pixels for ${key} in ${where}, found ${shown(value)}`);
}

/** `size`: a number or {shortest_edge}; {height, width} would squash the image. */
function shortestEdge(where: string, config: Json, otherwise: number): number {
  const value = config['size'];
  if (value === undefined || value === null) return otherwise;
  if (typeof value === 'number') return checkedSide(where, 'size', value);
  const { shortest_edge: shortest } = section(where, config, 'size');
  if (shortest === undefined) throw unsupported('size as a number or {shortest_edge}', where, value);
  return checkedSide(where, 'size', shortest);
}

/** `crop_size`: a number or {height, width}, square. */
function cropSide(where: string, config: Json, otherwise: number): number {
  const value = config['crop_size'];
  if (value === undefined || value === null) return otherwise;
  if (typeof value === 'number') return checkedSide(where, 'crop_size', value);
  const { height, width } = section(where, config, 'crop_size');
  if (height !== width || height === undefined) throw unsupported('a square crop_size', where, value);
  return checkedSide(where, 'crop_size', height);
}

/** preprocessor_config.json of transformers' CLIPImageProcessor or BitImageProcessor. */
function ofHf(where: string, config: Json, defaults: ImageStatistics, size: number): Preprocessing {
  const { resample, rescale_factor: factor } = config;
  if ((resample ?? 3) !== 3) throw unsupported('bicubic resampling (3) as resample', where, resample);
  for (const step of ['do_resize', 'do_center_crop', 'do_rescale', 'do_normalize'])
    if ((config[step] ?? true) !== true) throw unsupported(`${step} true`, where, config[step]);
  if (factor !== undefined && factor !== null && !(typeof factor === 'number' && Math.abs(factor * 255 - 1) < 1e-6))
    throw unsupported('1/255 as rescale_factor', where, factor);
  const resize = shortestEdge(where, config, size);
  return {
    ...statistics(where, config, { mean: 'image_mean', std: 'image_std' }, defaults),
    preprocessing: { resize, crop: cropSide(where, config, resize), centre: 'down' },
  };
}

/** `preprocess_cfg` of open_clip_config.json. */
function ofOpenClip(openClip: Json, defaults: ImageStatistics, size: number): Preprocessing {
  const where = 'preprocess_cfg of open_clip_config.json';
  const config = section('open_clip_config.json', openClip, 'preprocess_cfg');
  const { interpolation, resize_mode: mode } = config;
  if ((interpolation ?? 'bicubic') !== 'bicubic') throw unsupported('bicubic interpolation', where, interpolation);
  if ((mode ?? 'shortest') !== 'shortest') throw unsupported('shortest as resize_mode', where, mode);
  return { ...statistics(where, config, { mean: 'mean', std: 'std' }, defaults), preprocessing: { resize: size, crop: size } };
}

/**
 * How a model's images are prepared: preprocessor_config.json if its folder has one, else open_clip's preprocess_cfg, else the metadata of
 * a file of ours, else the defaults and shortest side = crop = `size`. Throws KueaError `unsupported_preprocessing` for what would give
 * other pixels than ours, `bad_config`.
 */
export async function readPreprocessing(
  { folder, openClip, path, metadata }: Pick<ModelFile, 'folder' | 'openClip' | 'path' | 'metadata'>,
  defaults: ImageStatistics,
  size: number,
): Promise<Preprocessing> {
  const config = folder ? await readJson(folder, 'preprocessor_config.json') : null;
  if (config) return ofHf(`preprocessor_config.json of ${folder}`, config, defaults, size);
  if (openClip) return ofOpenClip(openClip, defaults, size);
  return ownPreprocessing({ path, metadata }) ?? { ...defaults, preprocessing: { resize: size, crop: size } };
}
