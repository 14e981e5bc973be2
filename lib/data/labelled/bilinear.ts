import { inSlices } from '../concurrency.js';
import type { Pixels } from '../images/decode.js';

/** Pillow's fixed point. */
const fractionBits = 22;

/** Output i of an axis is the sum over k of weights[i * taps + k] * input[first[i] + k]; weights past the input's end are 0. */
interface Axis {
  taps: number;
  first: Int32Array;
  weights: Int32Array;
}

function axisOf(input: number, output: number): Axis {
  const scale = input / output;
  const support = Math.max(scale, 1);
  const taps = Math.min(input, Math.ceil(support) * 2 + 1);
  const first = new Int32Array(output);
  const weights = new Int32Array(output * taps);
  for (let i = 0; i < output; i++) {
    const centre = (i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5));
    const high = Math.min(input, Math.trunc(centre + support + 0.5));
    const own = Array.from({ length: high - low }, (_, k) => Math.max(0, 1 - Math.abs((k + low - centre + 0.5) * (1 / support))));
    const sum = own.reduce((total, weight) => total + weight, 0);
    // Moved back at the far edge, so that all taps lie inside.
    first[i] = Math.min(low, input - taps);
    own.forEach((weight, k) => {
      weights[i * taps + (low - first[i]!) + k] = Math.trunc((weight / sum) * 2 ** fractionBits + 0.5);
    });
  }
  return { taps, first, weights };
}

const clip = (sum: number) => Math.min(255, sum >> fractionBits);

/**
 * The square of `side` pixels whose top left corner is at (left, top), resized to uint8 [3, size, size] (RGB planes) at `offset` of
 * `target`, as Pillow's resize with BILINEAR does it, bit for bit: a triangle that is widened where the image shrinks, across first, whole
 * bytes between. The addon resamples by cubics alone; this is some ten milliseconds for a photo, in slices.
 */
export async function resizeSquare(
  { data, width, channels }: Pixels,
  { left, top, side }: { left: number; top: number; side: number },
  size: number,
  target: Uint8Array,
  offset: number,
): Promise<void> {
  const { taps, first, weights } = axisOf(side, size);
  const half = 1 << (fractionBits - 1);
  // [side, size, channels]
  const across = new Uint8Array(side * size * channels);
  await inSlices(side, Math.ceil(2 ** 17 / size), (from, to) => {
    for (let y = from; y < to; y++) {
      const row = ((top + y) * width + left) * channels;
      for (let x = 0; x < size; x++)
        for (let c = 0; c < channels; c++) {
          let sum = half;
          for (let k = 0; k < taps; k++) sum += weights[x * taps + k]! * data[row + (first[x]! + k) * channels + c]!;
          across[(y * size + x) * channels + c] = clip(sum);
        }
    }
  });
  await inSlices(size, Math.ceil(2 ** 17 / size), (from, to) => {
    for (let y = from; y < to; y++)
      for (let x = 0; x < size; x++)
        for (let c = 0; c < 3; c++) {
          let sum = half;
          const from = first[y]! * size + x;
          for (let k = 0; k < taps; k++) sum += weights[y * taps + k]! * across[(from + k * size) * channels + Math.min(c, channels - 1)]!;
          target[offset + (c * size + y) * size + x] = clip(sum);
        }
  });
}

/** The same square of one channel as Pillow's resize with NEAREST does it, uint8 [size, size]. */
export function nearestSquare(
  data: Uint8Array,
  width: number,
  { left, top, side }: { left: number; top: number; side: number },
  size: number,
): Uint8Array {
  const scale = side / size;
  const places = new Int32Array(size);
  // Added up, as Pillow does it: at a boundary the last bit decides.
  for (let i = 0, at = scale * 0.5; i < size; i++, at += scale) places[i] = Math.min(side - 1, Math.trunc(at));
  const target = new Uint8Array(size * size);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) target[y * size + x] = data[(top + places[y]!) * width + left + places[x]!]!;
  return target;
}
