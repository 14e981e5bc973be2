import type { Ranks } from '../distributed/ranks.js';

/** What a measurement found; CLIP_benchmark's fields, and what makes it repeatable. */
export interface EvaluationResult {
  dataset: string;
  model: string;
  /** The first digits of the weights' fingerprint. */
  pretrained: string;
  task: 'zeroshot_classification' | 'zeroshot_retrieval' | 'linear_probe';
  /** null where the definition gives no number: accuracy among five of fewer than five classes. */
  metrics: Record<string, number | null>;
  language: 'en';
  protocol: string;
  /** Images that were measured. */
  n: number;
  fingerprints: { model: string; data: string };
  seconds: number;
  kuea: string;
}

export type EvaluationEvent =
  | { type: 'phase'; name: string }
  | { type: 'warning'; message: string }
  /** `step` of `steps` images have their features. */
  | { type: 'tick'; step: number; steps: number }
  | { type: 'result'; result: EvaluationResult };

/** What a task is given besides its options. */
export interface Evaluation {
  /** cpu or cuda:N. */
  device: string;
  emit: (event: EvaluationEvent) => void;
  signal: AbortSignal | undefined;
  ranks: Ranks;
}
