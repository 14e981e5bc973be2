import { z } from 'zod';

import { KueaError } from '../errors.js';
import { describe } from './arguments.js';
import { nearest } from './keys.js';

/** The headings of --help. */
export type Group = 'Models' | 'Data' | 'Objective' | 'Adapter' | 'Optimisation' | 'Run' | 'Distributed';

export const option = <T extends z.ZodType>(group: Group, help: string, schema: T) => schema.meta({ group, help });

/** Where a program computes. */
export const deviceOption = option(
  'Run',
  'where to compute: cpu, cuda (each process of a machine has its own GPU) or cuda:N',
  z
    .string()
    .regex(/^(cpu|cuda(:\d+)?)$/, 'expected cpu, cuda or cuda:N')
    .default('cpu'),
);

/** Expected and found, for one key, in one sentence. */
function sentence(schema: z.ZodObject, issue: z.core.$ZodIssue, input: Record<string, unknown>): string {
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    return `unknown option ${key}: did you mean ${nearest(key, Object.keys(schema.shape))}?`;
  }
  const key = String(issue.path[0] ?? '');
  const found = input[key];
  if (found === undefined) return `${key} is missing: ${(schema.shape[key] as z.ZodType).meta()?.['help'] as string}`;
  return (
    `${issue.message.replace(/^Invalid (input|option): /, '').replace(/, received \w+$/, '')} for ${key}, found ` + `${describe(found)}`
  );
}

/**
 * Checks options against a schema and fills in defaults. Throws KueaError: `unknown_option` (naming the nearest), `missing_option`,
 * `bad_option`.
 */
export function parseOptions<Schema extends z.ZodObject>(schema: Schema, options: object): z.output<Schema> {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new KueaError('bad_option', `expected an object of options, found ${describe(options)}`);
  const given: Record<string, unknown> = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const code =
    issue.code === 'unrecognized_keys' ? 'unknown_option' : given[String(issue.path[0])] === undefined ? 'missing_option' : 'bad_option';
  throw new KueaError(code, sentence(schema, issue, given));
}
