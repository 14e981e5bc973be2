import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import type { z } from 'zod';

import { KueaError } from '../errors.js';
import { parseOptions } from './options.js';

/**
 * The options of a run's config.yaml, whichever version of this program wrote it: former names become the present ones, and options that it
 * did not know have their defaults, so that two configurations compare by what they mean. Throws KueaError `bad_config`.
 */
export function parseSaved<Schema extends z.ZodObject>(schema: Schema, saved: Record<string, unknown>): z.output<Schema> {
  try {
    return parseOptions(schema, saved);
  } catch (error) {
    if (!(error instanceof KueaError)) throw error;
    throw new KueaError('bad_config', `the run's config.yaml is of another version or was changed: ${error.message}`, { cause: error });
  }
}

/** Two spellings of one path are the same. */
const same = (a: unknown, b: unknown) =>
  isDeepStrictEqual(a, b) || (typeof a === 'string' && typeof b === 'string' && resolve(a) === resolve(b));

/** The options that differ between a run's beginning and now, each with both values; those in `free` may. */
export function differingOptions(before: Record<string, unknown>, now: Record<string, unknown>, free: readonly string[]): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(now)])]
    .filter((key) => !free.includes(key) && !same(before[key], now[key]))
    .map((key) => `${key} (${JSON.stringify(before[key])} then, ${JSON.stringify(now[key])} now)`);
}
