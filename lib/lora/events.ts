import type { LoraPlan } from './plan.js';

/** A line of metrics.jsonl. */
export interface LoraMetricsLine {
  /** Updates made, this one included. */
  step: number;
  epoch: number;
  lr: number;
  /** Of the update's samples, before it. */
  loss: number;
  /** L2 norm of the gradient, before it was cut. */
  grad_norm: number;
  /** Since the line before. */
  samples_per_second: number;
  tokens_per_second: number;
  /** Answer tokens and all tokens of the update. */
  labels: number;
  tokens: number;
  /** How long the loop stood waiting for micro-batches, and the longest that one's images took. */
  decode_wait_ms: number;
  decode_ms: number;
  /** Of the update on the device. */
  seconds: number;
}

/** A line of metrics.jsonl: the loss of the samples that are held out, after `step` updates. */
export interface ValidationLine {
  step: number;
  val_loss: number;
  val_samples: number;
}

/** What happens in a run, in order. */
export type LoraEvent =
  /** `notes`: what a dry run could not check, each a sentence. */
  | { type: 'start'; plan: LoraPlan; notes: string[] }
  /** Something that somebody should know or change, a sentence. */
  | { type: 'warning'; message: string }
  /** What is being done until the first step. */
  | { type: 'phase'; name: string }
  /** An update was made; of those that are logged `step` tells more. */
  | { type: 'tick'; step: number; steps: number }
  | { type: 'resume'; step: number; path: string }
  | ({ type: 'step'; steps: number } & LoraMetricsLine)
  | ({ type: 'validation' } & ValidationLine)
  | { type: 'checkpoint'; step: number; path: string }
  | { type: 'export'; path: string }
  | { type: 'done'; steps: number; interrupted: boolean; skipped: number; seconds: number };

export interface LoraResult {
  /** Updates made in total. */
  steps: number;
  /** Whether the signal stopped it before its last update. */
  interrupted: boolean;
  /** Metrics of the last logged update, and the last validation; absent when there was none. */
  metrics?: LoraMetricsLine;
  validation?: ValidationLine;
  /** Undecodable images that were left out. */
  skipped: number;
  /** Folder of the adapter in PEFT's layout; absent when the run was interrupted. */
  export?: string;
}
