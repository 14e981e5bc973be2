import { KueaError } from '../errors.js';

/** What a learning rate depends on. */
export interface Schedule {
  /** The peak. */
  lr: number;
  /** Updates of linear warm-up. */
  warmup: number;
  scheduler: 'cosine' | 'constant';
  /**
   * The rate of the first of W updates of warm-up. step: lr / W, as open_clip has it; zero: 0, as transformers has it; peak: lr, a quirk of
   * the published code, which sets the rate only after its first update and is open_clip's from the second on.
   */
  first: 'step' | 'zero' | 'peak';
}

/**
 * Learning rate of update `step` (from 0) of `steps`: a linear warm-up of W updates, then lr for 'constant', or half a cosine down to 0
 * after the last, 0.5 (1 + cos(pi (s - W) / (S - W))) lr (open_clip's cosine_lr and const_lr, transformers'
 * get_cosine_schedule_with_warmup).
 */
export function learningRate({ lr, warmup, scheduler, first }: Schedule, step: number, steps: number): number {
  if (first === 'peak' && step === 0) return lr;
  if (step < warmup) return (lr * (first === 'zero' ? step : step + 1)) / warmup;
  if (scheduler === 'constant') return lr;
  return 0.5 * (1 + Math.cos((Math.PI * (step - warmup)) / (steps - warmup))) * lr;
}

/** A warm-up as it was asked for: in updates, or as a part of all of them; one of the two is there. */
export interface WarmupOptions {
  warmupSteps?: number | undefined;
  warmupRatio?: number | undefined;
}

/**
 * Updates of warm-up of a run of `steps`; a part is rounded up. A warm-up that would not end before the run, and so never reach the peak,
 * is cut to a tenth of the run, which `warning` says. Throws KueaError `bad_option` for a run of no updates.
 */
export function planWarmup({ warmupSteps, warmupRatio = 0 }: WarmupOptions, steps: number): { warmup: number; warning?: string } {
  if (steps < 1)
    throw new KueaError('bad_option', 'expected at least one update, found 0: raise epochs, give steps, or lower the batch size');
  const asked = warmupSteps ?? Math.ceil(warmupRatio * steps);
  if (asked < steps) return { warmup: asked };
  const warmup = Math.floor(steps / 10);
  return {
    warmup,
    warning:
      `the warm-up of ${asked} updates is cut to ${warmup}, since the run has ${steps} in all and would never reach its learning rate: ` +
      `give warmupSteps or warmupRatio to choose`,
  };
}
