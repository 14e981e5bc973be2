import type { Addon, KernelSpec } from '../native/addon.js';

/** Embeddings of one sample of images: X fp32 [n, d] of the student, Y fp32 [n, dt] of the teacher. */
export interface EmbeddingSample {
  x: Float32Array;
  y: Float32Array;
  n: number;
  d: number;
  dt: number;
}

export interface FittedKernel {
  kernel: KernelSpec;
  /** mean_ij (K_clip - K_dino)^2 of the sample, before and after. */
  before: number;
  after: number;
}

const golden = (Math.sqrt(5) - 1) / 2;

/** Minimum of f over [low, high]: a grid brackets it (f need not have one valley everywhere), golden-section search narrows it. */
async function minimise(f: (t: number) => Promise<number>, low: number, high: number): Promise<number> {
  const points = 25;
  const step = (high - low) / (points - 1);
  const values: number[] = [];
  for (let i = 0; i < points; i++) values.push(await f(low + i * step));
  const best = values.indexOf(Math.min(...values));
  let a = low + Math.max(best - 1, 0) * step;
  let b = low + Math.min(best + 1, points - 1) * step;
  let left = b - golden * (b - a);
  let right = a + golden * (b - a);
  let atLeft = await f(left);
  let atRight = await f(right);
  while (b - a > 1e-4) {
    if (atLeft < atRight) {
      [b, right, atRight] = [right, left, atLeft];
      left = b - golden * (b - a);
      atLeft = await f(left);
    } else {
      [a, left, atLeft] = [left, right, atRight];
      right = a + golden * (b - a);
      atRight = await f(right);
    }
  }
  return (a + b) / 2;
}

/**
 * The kernel parameter that brings the student's kernel matrix nearest to the teacher's on a sample, which the paper did by hand.
 * Polynomial: the normalised kernel depends on rho = c / gamma alone, so gamma stays and c = rho * gamma. Gaussian: sigma. Cosine has none.
 * The search runs over the logarithm, from 1e-4 to 1e4 times the embeddings' mean squared norm (for sigma: of their norm).
 */
export async function fitKernel(addon: Addon, sample: EmbeddingSample, kernel: KernelSpec): Promise<FittedKernel> {
  const { x, y, n, d, dt } = sample;
  const loss = async (candidate: KernelSpec) =>
    (await addon.kernelLoss({ x, y, n, d, dt, kernel: candidate, backend: 'fused', gradient: false })).loss;
  const before = await loss(kernel);
  if (kernel.kind === 'cosine') return { kernel, before, after: before };

  let squares = 0;
  for (const value of x) squares += value * value;
  const squaredNorm = Math.max(squares / n, Number.MIN_VALUE);
  const at = (t: number): KernelSpec =>
    kernel.kind === 'gaussian'
      ? { ...kernel, sigma: Math.sqrt(squaredNorm) * Math.exp(t) }
      : { ...kernel, c: kernel.gamma * squaredNorm * Math.exp(t) };
  const range = Math.log(1e4) / (kernel.kind === 'gaussian' ? 2 : 1);
  const fitted = at(await minimise((t) => loss(at(t)), -range, range));
  return { kernel: fitted, before, after: await loss(fitted) };
}
