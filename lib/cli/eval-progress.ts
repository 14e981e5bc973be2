import { formatDuration } from '../config/units.js';
import type { EvaluationEvent, EvaluationResult } from '../eval/events.js';
import type { EventText } from './progress.js';

/** A result for people: a line, then a line a metric. */
export function resultText({ task, dataset, model, metrics, n, seconds, protocol }: EvaluationResult): string {
  const width = Math.max(...Object.keys(metrics).map((name) => name.length));
  const number = (value: number | null) => (value === null ? '-' : value.toFixed(4));
  return [
    `${task} of ${model} on ${dataset}: ${n.toLocaleString('en-US')} images in ${formatDuration(seconds)}, protocol ${protocol}`,
    ...Object.entries(metrics).map(([name, value]) => `  ${name.padEnd(width)}  ${number(value)}`),
  ].join('\n');
}

/** What an evaluation's events say to a person. */
export const evalText: EventText<EvaluationEvent> = {
  step: () => ({ losses: [], rate: '' }),
  line: () => '',
};
