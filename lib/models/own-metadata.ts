import { z } from 'zod';

import { KueaError } from '../errors.js';
import type { ModelFile, WeightsFile } from './kind.js';
import type { Preprocessing } from './preprocessing.js';

const preprocessingKey = 'kuea_preprocessing';
const originKey = 'kuea_origin';
const logitScaleKey = 'kuea_logit_scale';

/** What a weights file of ours says of itself in safetensors metadata, so that it opens with nothing beside it. */
export const fileMetadata = ({ kind, arch, mean, std, preprocessing }: WeightsFile): Record<string, string> => ({
  format: 'pt',
  ...kind.metadata(arch),
  [preprocessingKey]: JSON.stringify({ mean, std, ...preprocessing }),
});

/** The same of a checkpoint, and what it was trained from: that has the text tower and the tokenizer. */
export const checkpointMetadata = (weights: WeightsFile): Record<string, string> => ({
  ...fileMetadata(weights),
  [originKey]: weights.origin,
  ...(weights.logitScale === null ? {} : { [logitScaleKey]: String(weights.logitScale) }),
});

/** What a checkpoint says of the logit scale of what it was trained from, whose logarithm it is; null when it says nothing. */
export function logitScaleOf({ metadata }: ModelFile): number | null {
  const value = Number.parseFloat(metadata[logitScaleKey] ?? '');
  return Number.isFinite(value) ? value : null;
}

/** What a checkpoint was trained from; undefined when the file is none, or one of 0.1. */
export const originOf = ({ metadata }: ModelFile): string | undefined => metadata[originKey];

/** Pixels a side of an image; more would be gigabytes a batch. */
export const largestSide = 8192;

const side = z.int().positive().max(largestSide);
const triple = <T extends z.ZodType>(of: T) => z.tuple([of, of, of]);
const preprocessingSchema = z.strictObject({
  mean: triple(z.number()),
  std: triple(z.number().positive()),
  resize: side,
  crop: side,
  centre: z.enum(['even', 'down']).optional(),
});

/** How images are prepared for a file of ours; null when the file does not say it. Throws KueaError `bad_config`. */
export function ownPreprocessing({ path, metadata }: Pick<ModelFile, 'path' | 'metadata'>): Preprocessing | null {
  const text = metadata[preprocessingKey];
  if (text === undefined) return null;
  try {
    const { mean, std, resize, crop, centre } = preprocessingSchema.parse(JSON.parse(text));
    return { mean, std, preprocessing: { resize, crop, ...(centre ? { centre } : {}) } };
  } catch (cause) {
    throw new KueaError('bad_config', `expected ${preprocessingKey} in the metadata of ${path} as kuea writes it, found another`, {
      cause,
    });
  }
}
