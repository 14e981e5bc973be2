import type { MetricsLine } from '../run/metrics.js';
import type { AlignPlan } from './plan.js';

/** What happens in a run, in order. */
export type AlignEvent =
  | { type: 'start'; plan: AlignPlan }
  /** Something that somebody should know or change, a sentence. */
  | { type: 'warning'; message: string }
  /** What is being done until the first step. */
  | { type: 'phase'; name: string }
  /** An update was made; of those that are logged `step` tells more. */
  | { type: 'tick'; step: number; steps: number }
  /** The kernel was fitted on `images` images; kernel losses of that sample before and after. */
  | { type: 'fit'; images: number; gamma: number; c: number; sigma: number; before: number; after: number }
  /** The cache has `present` of the `images` that the run uses; `rebuilt` says why an older one was not usable. */
  | { type: 'cache'; folder: string; present: number; images: number; rebuilt?: string }
  | { type: 'resume'; step: number; path: string }
  | ({ type: 'step'; steps: number } & MetricsLine)
  | { type: 'checkpoint'; step: number; path: string }
  | { type: 'export'; layout: string; path: string }
  | { type: 'done'; steps: number; interrupted: boolean; skipped: number; seconds: number };

export interface AlignResult {
  /** Updates made in total. */
  steps: number;
  /** Whether the signal stopped it before its last step. */
  interrupted: boolean;
  /** Metrics of the last logged step; absent when none was made. */
  metrics?: MetricsLine;
  /** Undecodable images that were left out. */
  skipped: number;
  exports: { layout: string; path: string }[];
}
