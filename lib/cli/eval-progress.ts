import { formatDuration } from '../config/units.js';
import type { Compared, Comparison } from '../eval/compare.js';
import { verdict } from '../eval/comparison.js';
import type { EvaluationEvent, EvaluationResult } from '../eval/events.js';
import type { EventText } from './progress.js';

const number = (value: number | null | undefined) => (value === null || value === undefined ? '-' : value.toFixed(4));
const signed = (value: number) => `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(4)}`;
/** Models are A, B, C in the tables, which a path's length would burst. */
export const letter = (model: number) => String.fromCharCode(65 + model);

/** A result for people: a line, then a line a metric. */
export function resultText({ task, dataset, model, metrics, n, seconds, protocol }: EvaluationResult): string {
  const width = Math.max(...Object.keys(metrics).map((name) => name.length));
  return [
    `${task} of ${model} on ${dataset}: ${n.toLocaleString('en-US')} images in ${formatDuration(seconds)}, protocol ${protocol}`,
    ...Object.entries(metrics).map(([name, value]) => `  ${name.padEnd(width)}  ${number(value)}`),
  ].join('\n');
}

/** What an evaluation's events say to a person. */
export const evalText: EventText<Exclude<EvaluationEvent, { type: 'result' }>> = {
  step: () => ({ losses: [], rate: '' }),
  line: () => '',
};

/** A measurement of several models: a line a metric and model, with what it is above A's, and how sure that is. */
export function comparedText({ task, dataset, results, differences, regressions }: Compared): string {
  const names = Object.keys(results[0]!.metrics);
  const width = Math.max(...names.map((name) => name.length));
  const lines = names.flatMap((name) =>
    results.map(({ metrics }, m) => {
      const start = `  ${(m === 0 ? name : '').padEnd(width)}  ${letter(m)} ${number(metrics[name])}`;
      const found = differences.find((one) => one.model === m && one.metric === name);
      if (!found) return start;
      const { estimate, low, high, mcnemar } = found;
      const p = mcnemar ? `  p ${mcnemar.p.toPrecision(2)}` : '';
      return `${start}  ${signed(estimate)} [${signed(low)} ${signed(high)}]${p}  ${verdict(found)}`.trimEnd();
    }),
  );
  const lost = results.slice(1).flatMap((_, i) => {
    const of = regressions.filter(({ model }) => model === i + 1).map(({ image }) => image);
    return of.length === 0
      ? []
      : [`  right with A, wrong with ${letter(i + 1)}: ${of.slice(0, 3).join(', ')}${of.length > 3 ? ' ...' : ''}`];
  });
  return [`${task} on ${dataset}, ${results[0]!.n.toLocaleString('en-US')} images`, ...lines, ...lost].join('\n');
}

/** The end of a comparison: which letter is which model, and the averages. */
export function comparisonText({ models, averages }: Comparison): string {
  return [
    ...averages.map(({ name, values }) => `${name}: ${values.map((value, m) => `${letter(m)} ${number(value)}`).join('  ')}`),
    ...models.map((model, m) => `${letter(m)} is ${model}`),
  ].join('\n');
}
