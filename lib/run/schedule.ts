/** What a learning rate depends on. */
export interface Schedule {
  lr: number;
  warmupSteps: number;
  scheduler: 'cosine' | 'constant';
  protocol: 'default' | 'kuea-release' | 'kuea-ddp';
}

/**
 * Learning rate of update `step` (from 0) of `steps`: linear warm-up lr (s + 1) / W, then 0.5 (1 + cos(pi (s - W) / (S - W))) lr, or lr for
 * 'constant' (open_clip's cosine_lr and const_lr). The published loop sets the rate only after its first update, which therefore has the
 * full one; protocol 'kuea-release' repeats that.
 */
export function learningRate({ lr, warmupSteps, scheduler, protocol }: Schedule, step: number, steps: number): number {
  if (protocol === 'kuea-release' && step === 0) return lr;
  if (step < warmupSteps) return (lr * (step + 1)) / warmupSteps;
  if (scheduler === 'constant') return lr;
  return 0.5 * (1 + Math.cos((Math.PI * (step - warmupSteps)) / (steps - warmupSteps))) * lr;
}

/**
 * Learning rate of update `step` (from 0) of `steps` as transformers' get_cosine_schedule_with_warmup gives it: lr s / W, so the first
 * update has 0, then down a half cosine to 0 after the last; 'constant' is lr throughout. `warmupRatio` of all updates, rounded up, warm
 * up.
 */
export function fineTuningRate(
  { lr, warmupRatio, scheduler }: { lr: number; warmupRatio: number; scheduler: 'cosine' | 'constant' },
  step: number,
  steps: number,
): number {
  if (scheduler === 'constant') return lr;
  const warmup = warmupSteps(warmupRatio, steps);
  if (step < warmup) return (lr * step) / warmup;
  return 0.5 * (1 + Math.cos((Math.PI * (step - warmup)) / (steps - warmup))) * lr;
}

export const warmupSteps = (ratio: number, steps: number) => Math.ceil(ratio * steps);
