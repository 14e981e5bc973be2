import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';

import { nestedRecipe, readRecipe } from '../config/files.js';
import { KueaError } from '../errors.js';
import { packageRoot } from '../package.js';
import type { EvaluateOptions } from './options.js';

/** One measurement of a suite, for whatever model. */
export interface SuiteEntry {
  options: Omit<EvaluateOptions, 'model'> & { task: EvaluateOptions['task'] };
  /** Of the probes that it is the mean of. */
  seeds: readonly number[];
}

/** The mean of one metric over some sets. */
export interface Average {
  name: string;
  metric: string;
  datasets: readonly string[];
}

export interface Suite {
  evaluations: readonly SuiteEntry[];
  averages: readonly Average[];
}

const schema = z.strictObject({
  evaluations: z
    .array(z.looseObject({ task: z.enum(['zero-shot', 'retrieval', 'linear-probe']), seeds: z.int().positive().default(1) }))
    .min(1),
  averages: z.array(z.strictObject({ name: z.string(), metric: z.string(), datasets: z.array(z.string()).min(1) })).default([]),
});

const folder = () => join(packageRoot(), 'configs');

/** Names of the suites that ship with the package: configs/suite-NAME.yaml. */
export function suiteNames(): string[] {
  return readdirSync(folder())
    .filter((file) => /^suite-.*\.yaml$/.test(file))
    .map((file) => basename(file, '.yaml').slice('suite-'.length))
    .sort();
}

/**
 * A suite by its name or its YAML: `evaluations`, each a task with its options as in `kuea-eval TASK`, and, for a linear probe, a number of
 * `seeds`; and `averages`, each the mean of a metric over datasets, by the names that the evaluations give. Throws KueaError `bad_config`,
 * `bad_suite`.
 */
export async function readSuite(nameOrFile: string): Promise<Suite> {
  if (!suiteNames().includes(nameOrFile) && !existsSync(nameOrFile))
    throw new KueaError(
      'bad_suite',
      `expected a suite of the package (${suiteNames().join(', ')}) or a YAML file, found no file ${nameOrFile}`,
    );
  const file = suiteNames().includes(nameOrFile) && !existsSync(nameOrFile) ? join(folder(), `suite-${nameOrFile}.yaml`) : nameOrFile;
  const parsed = schema.safeParse(await readRecipe(file));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new KueaError(
      'bad_suite',
      `expected a list of evaluations, each with its task, in ${file}, found otherwise at ${issue!.path.join('.') || 'its top'}: ` +
        `${issue!.message}. Suites that come with the package: ${suiteNames().join(', ')}`,
    );
  }
  const evaluations = parsed.data.evaluations.map(({ seeds, ...options }) => {
    if (seeds > 1 && options.task !== 'linear-probe')
      throw new KueaError('bad_suite', `expected seeds of a linear-probe alone in ${file}, found ${seeds} of ${options.task}`);
    return { options: nestedRecipe(file, options) as unknown as SuiteEntry['options'], seeds: Array.from({ length: seeds }, (_, i) => i) };
  });
  const known = new Set(evaluations.map(({ options: { dataset, data } }) => dataset ?? data));
  for (const { name, datasets } of parsed.data.averages) {
    const missing = datasets.find((dataset) => !known.has(dataset));
    if (missing)
      throw new KueaError('bad_suite', `expected datasets of the evaluations in the average ${name} of ${file}, found ${missing}`);
  }
  return { evaluations, averages: parsed.data.averages };
}
