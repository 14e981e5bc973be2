import { z } from 'zod';

import { KueaError, named } from '../errors.js';
import { describe } from './arguments.js';
import { nearest } from './keys.js';

/** The headings of --help. */
export type Group = 'Models' | 'Data' | 'Objective' | 'Adapter' | 'Optimisation' | 'Run' | 'Distributed';

interface More {
  /** Shown by --help, in these words when the full ones are long; the others are shown by --help-all alone. */
  everyday?: true | string;
  /** Names that the option had in the version before: they work, with a warning. */
  formerly?: readonly string[];
}

/** What a schema's key says of itself. */
export interface OptionMeta extends More {
  group: Group;
  /** One line of help. */
  help: string;
}

export const option = <T extends z.ZodType>(group: Group, help: string, schema: T, more: More = {}) =>
  schema.meta({ group, help, ...more });

export type Shape = Readonly<Record<string, z.ZodType>>;

/** Empty for a schema that is none of a program's options. */
export const metaOf = (schema: z.ZodType) => (schema.meta() ?? {}) as unknown as OptionMeta;

/** How a key is told to whoever gave it, and where warnings go. */
export interface Telling {
  /** A key as it was typed: batchSize in the API, --batch-size on the command line. */
  name?: (key: string) => string;
  warn?: (message: string) => void;
}

/** Where a program computes. */
export const deviceOption = option(
  'Run',
  'where to compute: auto (a GPU if there is one), cpu, cuda (each process of a machine has its own GPU) or cuda:N',
  z
    .string()
    .regex(/^(auto|cpu|cuda(:\d+)?)$/, 'auto, cpu, cuda or cuda:N')
    .default('auto'),
  { everyday: 'auto (a GPU if there is one), cpu, cuda or cuda:N' },
);

const typeNames: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
};

/** What would have been right. */
function expectation(issue: z.core.$ZodIssue): string {
  const least = (bound: 'least' | 'most', value: unknown, inclusive: boolean | undefined) =>
    inclusive ? `of at ${bound} ${value}` : `${bound === 'least' ? 'above' : 'below'} ${value}`;
  switch (issue.code) {
    case 'invalid_type':
      return typeNames[issue.expected] ?? issue.expected;
    case 'invalid_value':
      return `one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
    case 'too_big': {
      if (issue.origin === 'string') return 'some text';
      if (issue.origin === 'array' && issue.code === 'too_small')
        return `at least ${issue.minimum === 1 ? 'one' : issue.minimum} of a list`;
      const bound = issue.code === 'too_small' ? ('least' as const) : ('most' as const);
      const value = issue.code === 'too_small' ? issue.minimum : issue.maximum;
      return `a number ${least(bound, value, issue.inclusive)}`;
    }
    default:
      return issue.message;
  }
}

/** Expected and found, for one key, in one sentence. */
function sentence(shape: Shape, issue: z.core.$ZodIssue, input: Record<string, unknown>, name: (key: string) => string): string {
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    return `unknown option ${name(named(key))}: did you mean ${name(nearest(key, Object.keys(shape)))}?`;
  }
  const key = String(issue.path[0] ?? '');
  if (input[key] === undefined) return `${name(key)} is missing: ${metaOf(shape[key]!).help}`;
  return `expected ${expectation(issue)} for ${name(key)}, found ${describe(input[key])}`;
}

/**
 * Options under the names that they have now; a former name is told to `warn`. Throws KueaError `bad_option` when an option is there under
 * both.
 */
export function renameOptions(shape: Shape, options: object, telling: Telling = {}): Record<string, unknown> {
  const { name = (key: string) => key, warn } = telling;
  const renamed: Record<string, unknown> = { ...options };
  for (const [key, schema] of Object.entries(shape)) {
    for (const old of metaOf(schema).formerly ?? []) {
      if (renamed[old] === undefined) continue;
      if (renamed[key] !== undefined)
        throw new KueaError('bad_option', `expected ${name(key)} alone, found its former name ${name(old)} with it: leave that one out`);
      warn?.(`${name(old)} is called ${name(key)} now; the old name goes with the next version`);
      renamed[key] = renamed[old];
      delete renamed[old];
    }
  }
  return renamed;
}

/**
 * Checks options against a schema and fills in defaults; former names are taken, with a warning. Throws KueaError: `unknown_option` (naming
 * the nearest), `missing_option`, `bad_option`.
 */
export function parseOptions<Schema extends z.ZodObject>(schema: Schema, options: object, telling: Telling = {}): z.output<Schema> {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new KueaError('bad_option', `expected an object of options, found ${describe(options)}`);
  const shape = schema.shape as Shape;
  const { name = (key: string) => key } = telling;
  const given = Object.fromEntries(Object.entries(renameOptions(shape, options, telling)).filter(([, value]) => value !== undefined));
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const code =
    issue.code === 'unrecognized_keys' ? 'unknown_option' : given[String(issue.path[0])] === undefined ? 'missing_option' : 'bad_option';
  throw new KueaError(code, sentence(shape, issue, given, name));
}

/** Throws KueaError `bad_option` when two options are given of which one replaces the other. */
export function oneOf(
  options: Record<string, unknown>,
  first: string,
  second: string,
  { name = (key: string) => key }: Telling = {},
): void {
  if (options[first] !== undefined && options[second] !== undefined)
    throw new KueaError(
      'bad_option',
      `expected ${name(first)} or ${name(second)}, found both (${options[first]} and ${options[second]}): leave one out`,
    );
}
