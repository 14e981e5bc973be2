import type { WeightsFile } from '../models/kind.js';
import { packageVersion } from '../package.js';
import type { EvaluationResult } from './events.js';
import type { EvaluationConfig } from './options.js';

/** A measurement in CLIP_benchmark's schema, with what makes it repeatable. */
export async function resultOf(
  task: EvaluationResult['task'],
  { model, data, dataset, protocol }: EvaluationConfig,
  weights: WeightsFile,
  set: { fingerprint(): Promise<string> },
  n: number,
  metrics: EvaluationResult['metrics'],
  started: number,
): Promise<EvaluationResult> {
  const fingerprints = { model: await weights.fingerprint(), data: await set.fingerprint() };
  return {
    dataset: dataset ?? data ?? 'annotations',
    model,
    pretrained: fingerprints.model.slice(0, 16),
    task,
    metrics,
    language: 'en',
    protocol,
    n,
    fingerprints,
    seconds: (performance.now() - started) / 1000,
    kuea: packageVersion(),
  };
}
