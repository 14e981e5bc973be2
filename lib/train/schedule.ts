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
