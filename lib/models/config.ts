import { isDeepStrictEqual } from 'node:util';

import { KueaError, shown } from '../errors.js';
import type { Json } from './model-folder.js';

/** Keys that must have one of these values, an absent one counting as undefined; all of them change what is computed. */
export type Demands = Record<string, readonly unknown[]>;

/**
 * Refuses a config that asks for what is not computed here. `where` is the config's name for people, `because` says why it matters. Throws
 * KueaError `unsupported_model`.
 */
export function demand(where: string, config: Json, demands: Demands, because: string): void {
  for (const [key, allowed] of Object.entries(demands)) {
    const found = config[key];
    if (allowed.some((value) => isDeepStrictEqual(value, found))) continue;
    throw new KueaError('unsupported_model', `expected ${key} ${shown(allowed[0])} in ${where}, found ${shown(found)}: ${because}`);
  }
}

/** What it means that an encoder's config is not followed. */
export const otherwiseWrong = 'with another its embeddings would be wrong, and nothing would show it';

/** An object within a config; an empty one where there is none. Throws KueaError `bad_config`. */
export function section(where: string, config: Json, key: string): Json {
  const value = config[key] ?? {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw new KueaError('bad_config', `expected an object for ${key} in ${where}, found ${shown(value)}`);
  return value as Json;
}

/** A positive number of a config; `otherwise` where it has none, which undefined forbids. Throws KueaError `bad_config`. */
export function positive(where: string, config: Json, key: string, otherwise?: number): number {
  const value = config[key] ?? otherwise;
  if (typeof value !== 'number' || !(value > 0) || value === Number.POSITIVE_INFINITY)
    throw new KueaError('bad_config', `expected a positive number for ${key} in ${where}, found ${shown(value)}`);
  return value;
}

/** The same of whole numbers. */
export function count(where: string, config: Json, key: string, otherwise?: number): number {
  const value = positive(where, config, key, otherwise);
  if (!Number.isInteger(value)) throw new KueaError('bad_config', `expected an integer for ${key} in ${where}, found ${value}`);
  return value;
}
