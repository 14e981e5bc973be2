import type { RunEvent, RunResult, StepLine, ValidationLine } from '../run/events.js';
import type { AlignPlan } from './plan.js';

/** A line of metrics.jsonl of an alignment. */
export interface AlignLine extends StepLine {
  /** L2 norm of the gradient, the kernel's parameters with it, before it was cut. */
  grad_norm: number;
  kernel_loss: number;
  anchor_loss: number;
  cosine_to_original: number;
  /** Of the student's polynomial kernel. */
  gamma?: number;
  c?: number;
  /** Of its Gaussian one. */
  sigma?: number;
  images_per_second: number;
}

/** The means over the batches that are held out. */
export interface AlignValidation extends ValidationLine {
  val_kernel_loss: number;
  val_anchor_loss: number;
  val_cosine_to_original: number;
}

export type AlignEvent =
  | RunEvent<AlignPlan, AlignLine>
  /** The kernel was fitted on `images` images; kernel losses of that sample before and after. */
  | { type: 'fit'; images: number; gamma: number; c: number; sigma: number; before: number; after: number }
  /** The cache has `present` of the `images` that the run uses; `rebuilt` says why an older one was not usable. */
  | { type: 'cache'; folder: string; present: number; images: number; rebuilt?: string };

export type AlignResult = RunResult<AlignLine>;
