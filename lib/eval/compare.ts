import { join } from 'node:path';
import { z } from 'zod';

import { option, parseOptions, type Telling } from '../config/options.js';
import { oneRank, type Ranks } from '../distributed/ranks.js';
import { makeFolder, writeFileAtomically } from '../files/atomic.js';
import { type Run, startRun } from '../run/run.js';
import { type Interval, type Measure, pairedBootstrap } from './bootstrap.js';
import { csvOf } from './comparison.js';
import { takeDevice } from './evaluate.js';
import type { Evaluation, EvaluationEvent, EvaluationResult } from './events.js';
import { compareHits, type McNemar } from './mcnemar.js';
import type { Measured } from './measured.js';
import { meanOrNull } from './metrics.js';
import { zeroShotSchema } from './options.js';
import { readSuite } from './suite.js';
import { planSuite } from './suite-plan.js';

const { precision, batchSize, device, threads, workers, cache, protocol, allowPartial } = zeroShotSchema.shape;

export const compareSchema = z.strictObject({
  models: option(
    'Models',
    'CLIPs to compare, as --model takes them; the first is what the others are held against',
    z.array(z.string().min(1)).min(2),
    {
      everyday: true,
    },
  ),
  suite: option('Data', 'the measurements: a suite of the package (quick, paper), or a YAML file', z.string().min(1).default('quick'), {
    everyday: true,
  }),
  out: option('Run', 'folder to write results.json and results.csv to', z.string().min(1), { everyday: true }),
  protocol,
  allowPartial,
  precision,
  batchSize,
  device,
  threads,
  workers,
  cache,
});

export type CompareConfig = z.output<typeof compareSchema>;
export type CompareOptions = z.input<typeof compareSchema>;

/** How much a model's metric exceeds the first model's, with its 95 % interval. */
export interface Difference extends Interval {
  /** Place of the model. */
  model: number;
  metric: string;
  /** Of the images that each has right, where the metric is the part of them. */
  mcnemar: McNemar | null;
}

/** An image that the first model has right, and this one not. */
export interface Regression {
  model: number;
  image: string;
  /** How far the right answer fell behind, in logits or places. */
  miss: number;
}

export interface Compared {
  task: EvaluationResult['task'];
  dataset: string;
  /** By model. */
  results: readonly EvaluationResult[];
  differences: readonly Difference[];
  /** Of each model the worst, at most a hundred. */
  regressions: readonly Regression[];
}

export interface Comparison {
  models: readonly string[];
  suite: string;
  evaluations: readonly Compared[];
  /** `values` by model; null where one of them has no number. */
  averages: readonly { name: string; metric: string; values: readonly (number | null)[] }[];
}

export type ComparisonEvent = Exclude<EvaluationEvent, { type: 'result' }> | { type: 'evaluation'; compared: Compared };
export type ComparisonRun = Run<ComparisonEvent, Comparison>;

/** The part of images that are right, of one seed: what McNemar's test is of. */
const isPart = ({ values, counts, groups }: Measure) => values.length === 1 && !counts && !groups;

async function differences(models: readonly Measured[], signal: AbortSignal | undefined): Promise<Difference[]> {
  const [first, ...others] = models as [Measured, ...Measured[]];
  const metrics = Object.keys(first.measures);
  const found: Difference[] = [];
  for (const [i, other] of others.entries()) {
    const pairs = metrics.map((name) => [other.measures[name]!, first.measures[name]!] as const);
    const intervals = await pairedBootstrap(
      pairs.map(([b]) => b),
      pairs.map(([, a]) => a),
      signal ? { signal } : {},
    );
    for (const [m, metric] of metrics.entries()) {
      const [b, a] = pairs[m]!;
      const mcnemar = isPart(a) ? compareHits(a.values[0] as Uint8Array, b.values[0] as Uint8Array) : null;
      found.push({ model: i + 1, metric, ...intervals[m]!, mcnemar });
    }
  }
  return found;
}

/** Images whose right answer the first model has in the first place, and another not: the farthest first. */
function regressions(models: readonly Measured[], most = 100): Regression[] {
  const [first, ...others] = models as [Measured, ...Measured[]];
  return others.flatMap(({ miss, images }, i) =>
    images
      .map((image, j) => ({ model: i + 1, image, miss: miss[j]! }))
      .filter(({ miss }, j) => miss > 0 && first.miss[j] === 0)
      .sort((a, b) => b.miss - a.miss)
      .slice(0, most),
  );
}

/**
 * Measures several CLIPs by a suite, and how sure the differences are: 95 % intervals of the paired bootstrap (10,000 resamples of images,
 * with their captions, and of a probe's seeds) and McNemar's exact test. Writes results.json and results.csv to `out` when all is measured;
 * features are cached, so that a comparison which was stopped goes on. Rejects as `evaluate` does, and with KueaError `bad_suite`.
 */
export function compare(options: CompareOptions, { signal, ranks = oneRank }: { signal?: AbortSignal; ranks?: Ranks } = {}): ComparisonRun {
  const config = resolveComparison(options);
  const { models, suite: nameOfSuite, out } = config;
  return startRun(async (emit) => {
    const suite = await readSuite(nameOfSuite);
    const { precision, batchSize, threads, workers, cache, protocol, allowPartial } = config;
    // All options are checked before the first is measured.
    const plans = models.map((model) => planSuite(suite, model, { precision, batchSize, threads, workers, cache, protocol, allowPartial }));
    if (ranks.rank === 0) await makeFolder(out);
    const device = await takeDevice(config, ranks);
    const evaluations: Compared[] = [];
    for (const e of suite.evaluations.keys()) {
      const measured: Measured[] = [];
      for (const [m, plan] of plans.entries()) {
        const where = `${e + 1} of ${plan.length}, model ${m + 1} of ${models.length}`;
        const evaluation: Evaluation = {
          device,
          signal,
          ranks,
          emit: (event) => {
            if (event.type === 'phase') emit({ ...event, name: `${where}: ${event.name}` });
            else if (event.type !== 'result') emit(event);
          },
        };
        measured.push(await plan[e]!(evaluation));
      }
      emit({ type: 'phase', name: `${e + 1} of ${suite.evaluations.length}: comparing` });
      const results = measured.map(({ result }) => result);
      const compared: Compared = {
        task: results[0]!.task,
        dataset: results[0]!.dataset,
        results,
        differences: await differences(measured, signal),
        regressions: regressions(measured),
      };
      emit({ type: 'evaluation', compared });
      evaluations.push(compared);
      signal?.throwIfAborted();
    }
    const averages = suite.averages.map(({ name, metric, datasets }) => ({
      name,
      metric,
      values: models.map((_, m) => averageOf(evaluations, m, metric, datasets)),
    }));
    const comparison: Comparison = { models, suite: nameOfSuite, evaluations, averages };
    if (ranks.rank === 0) {
      await writeFileAtomically(join(out, 'results.json'), `${JSON.stringify(comparison, null, 2)}\n`);
      await writeFileAtomically(join(out, 'results.csv'), csvOf(comparison));
    }
    return comparison;
  });
}

/** Throws KueaError `bad_option`, `missing_option`, `unknown_option`. */
export const resolveComparison = (options: CompareOptions, telling: Telling = {}): CompareConfig =>
  parseOptions(compareSchema, options, telling);

function averageOf(evaluations: readonly Compared[], model: number, metric: string, datasets: readonly string[]): number | null {
  const values = datasets.map((dataset) => {
    const metrics = evaluations.filter((one) => one.dataset === dataset).map(({ results }) => results[model]!.metrics);
    return metrics.find((of) => metric in of)?.[metric] ?? null;
  });
  return meanOrNull(values);
}
