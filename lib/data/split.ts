import { permutation } from './images/sampler.js';

/** The stream of the seed that the split is drawn from: no epoch has this number. */
const splitStream = 0xffffffff;

/** round(fraction * length) samples to validate on, drawn by the seed, and the rest; both ascending. */
export function split(length: number, valFraction: number, seed: number): { train: Uint32Array; validation: Uint32Array } {
  const order = valFraction === 0 ? Uint32Array.from({ length }, (_, i) => i) : permutation(length, seed, splitStream);
  const held = Math.round(valFraction * length);
  return { train: order.slice(held).sort(), validation: order.slice(0, held).sort() };
}
