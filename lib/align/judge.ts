import { rm } from 'node:fs/promises';

import { gather } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { pairedBootstrap } from '../eval/bootstrap.js';
import type { Evaluation } from '../eval/events.js';
import type { Measured } from '../eval/measured.js';
import { meanOrNull } from '../eval/metrics.js';
import { readSuite } from '../eval/suite.js';
import { planSuite } from '../eval/suite-plan.js';
import type { EvaluationLine } from '../run/events.js';
import { orStopped, type Session } from '../run/session.js';
import type { Judge } from '../run/training.js';
import type { AlignEvent } from './events.js';
import type { AlignConfig } from './options.js';

/** Measures an alignment's student while it is trained; null when no suite is given. Throws what readSuite and planSuite throw. */
export async function openJudge(session: Session<AlignConfig, AlignEvent>): Promise<Judge | null> {
  const { config, folder, device, emit, ranks, signal } = session;
  if (config.eval === undefined) return null;
  const suite = await readSuite(config.eval);
  const { precision, workers } = config;
  // A checkpoint's features are of no use to anybody else; the original's are shared with every other evaluation.
  const features = folder.file('evaluation');
  const measureAll = async (model: string, own: { cache?: string; activation?: AlignConfig['activation'] }): Promise<Measured[] | null> => {
    const evaluation: Evaluation = {
      device,
      ranks,
      // One rank that stops in the middle would leave the others waiting: several finish what they measure.
      signal: ranks.group ? undefined : signal,
      emit: (event) => {
        if (event.type === 'warning') emit(event);
      },
    };
    const all: Measured[] = [];
    for (const measure of planSuite(suite, model, { precision, workers, ...own })) {
      const measured = await orStopped(evaluation.signal, measure(evaluation));
      if (!measured) return null;
      all.push(measured);
    }
    return all;
  };
  let original: Measured[] | null = null;

  return {
    every: config.evalEvery,
    best: config.best,
    measure: async (step, checkpoint) => {
      emit({ type: 'phase', name: 'measuring' });
      if (checkpoint === null) {
        original = await measureAll(config.student, { activation: config.activation });
        if (!original) return null;
        const line = lineOf(step, original);
        if (config.best !== undefined && !(config.best in line.evaluation))
          throw new KueaError(
            'bad_option',
            `expected a metric of the suite ${config.eval} for best, found ${config.best}: there are ` +
              Object.keys(line.evaluation).join(', '),
          );
        return line;
      }
      const measured = await measureAll(checkpoint, { cache: features });
      await gather(ranks, 'evaluation', true);
      if (ranks.rank === 0) await rm(features, { recursive: true, force: true });
      if (!measured) return null;
      if (ranks.rank === 0 && original) await tellForgetting(measured, original, emit);
      return lineOf(step, measured);
    },
  };
}

/** Zero-shot metrics say so in their name; the others' names do already. */
const nameOf = (task: string, metric: string) => (task === 'zeroshot_classification' ? `zero_shot_${metric}` : metric);

function lineOf(step: number, measured: readonly Measured[]): EvaluationLine {
  const sets: Record<string, Record<string, number | null>> = {};
  const values = new Map<string, (number | null)[]>();
  for (const { result } of measured)
    for (const [metric, value] of Object.entries(result.metrics)) {
      const name = nameOf(result.task, metric);
      sets[result.dataset] = { ...sets[result.dataset], [name]: value };
      values.set(name, [...(values.get(name) ?? []), value]);
    }
  return { step, evaluation: Object.fromEntries(Array.from(values, ([name, of]) => [name, meanOrNull(of)])), sets };
}

/** Says where zero-shot classification has fallen by more than chance explains. */
async function tellForgetting(
  measured: readonly Measured[],
  original: readonly Measured[],
  emit: (event: { type: 'warning'; message: string }) => void,
): Promise<void> {
  for (const [i, now] of measured.entries()) {
    const [a, b] = [original[i]!.measures['acc1'], now.measures['acc1']];
    if (!a || !b) continue;
    const [difference] = await pairedBootstrap([b], [a]);
    const { low, high } = difference!;
    if (high >= 0) continue;
    const value = ({ result }: Measured) => result.metrics['acc1']!.toFixed(4);
    emit({
      type: 'warning',
      message:
        `forgetting: zero-shot acc1 on ${now.result.dataset} fell from ${value(original[i]!)} to ${value(now)} (95 % interval of the ` +
        `difference ${low.toFixed(4)} to ${high.toFixed(4)}): try a lower lr or w, fewer steps, or the checkpoint that --best keeps`,
    });
  }
}
