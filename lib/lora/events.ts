import type { RunEvent, RunResult, StepLine } from '../run/events.js';
import type { LoraPlan } from './plan.js';

/** A line of metrics.jsonl of a fine-tuning. */
export interface LoraLine extends StepLine {
  /** L2 norm of the gradient, before it was cut. */
  grad_norm: number;
  /** Of all ranks, since the line before. */
  samples_per_second: number;
  tokens_per_second: number;
  /** Answer tokens and all tokens of the update. */
  labels: number;
  tokens: number;
}

export type LoraEvent = RunEvent<LoraPlan, LoraLine>;

export interface LoraResult extends RunResult<LoraLine> {
  /** @deprecated The path in `exports`; absent when the run was interrupted. */
  readonly export?: string;
}
