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
