import { resolveEvaluation } from './evaluate.js';
import type { Evaluation } from './events.js';
import { type Measured, overSeeds } from './measured.js';
import type { EvaluateOptions, EvaluationConfig } from './options.js';
import type { Suite } from './suite.js';

/** Options that a suite's evaluations have in common; an evaluation's own are stronger. */
export type SuiteOptions = Partial<
  Pick<EvaluationConfig, 'precision' | 'batchSize' | 'threads' | 'workers' | 'cache' | 'protocol' | 'allowPartial' | 'activation'>
>;

/**
 * The measurements of one model by a suite, each to be called when its turn comes. All options are checked here. Throws KueaError
 * `bad_option`, `missing_option`, `unknown_option`.
 */
export function planSuite({ evaluations }: Suite, model: string, options: SuiteOptions): ((evaluation: Evaluation) => Promise<Measured>)[] {
  return evaluations.map(({ options: own, seeds }) => {
    const asked = seeds.map((seed) =>
      resolveEvaluation({ ...options, ...own, ...(seeds.length > 1 ? { seed } : {}), model } as EvaluateOptions),
    );
    return async (evaluation) => {
      const measured: Measured[] = [];
      for (const { measure } of asked) measured.push(await measure(evaluation));
      return overSeeds(measured);
    };
  });
}
