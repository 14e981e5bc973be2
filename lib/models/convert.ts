import { KueaError } from '../errors.js';
import type { Addon } from '../native/addon.js';
import { type ExportLayout, exportWeights } from './export.js';
import { type OpenWeightsOptions, openWeights, type WeightsFile } from './open.js';

/** How many random images the two encoders are compared on. */
const probes = 2;
const tolerance = 1e-5;

export interface Conversion {
  /** Largest difference between an embedding's number before and after, relative to the largest number. */
  difference: number;
}

async function embed(addon: Addon, { arch, plan, mean, std }: WeightsFile, pixels: Uint8Array, size: number): Promise<Float32Array> {
  const encoder = await addon.openEncoder({ arch, weights: plan, mean, std, precision: 'fp32', device: 'cpu' });
  try {
    return await encoder.encode(pixels, probes, size);
  } finally {
    await encoder.close();
  }
}

/**
 * Rewrites a CLIP in another layout and proves it: the result is opened again, and must give the same embeddings. Throws KueaError
 * `conversion_differs` when it does not, `bad_option` for a file that nothing could open by its name, and what opening and exporting
 * throw.
 */
export async function convert(
  addon: Addon,
  ref: string,
  layout: ExportLayout,
  out: string,
  options: OpenWeightsOptions = {},
): Promise<Conversion> {
  if (['openai', 'visual'].includes(layout) && !out.endsWith('.safetensors'))
    throw new KueaError(
      'bad_option',
      `expected a file that ends in .safetensors for the layout ${layout}, found ${out}: nothing could open it`,
    );
  const weights = await openWeights(ref, { ...options, role: 'student' });
  const { arch, plan, mean, std, preprocessing } = weights;
  const encoder = await addon.openEncoder({ arch, weights: plan, mean, std, precision: 'fp32', device: 'cpu' });
  const size = preprocessing.crop;
  const pixels = Uint8Array.from({ length: probes * 3 * size * size }, (_, i) => (i * 2654435761) >>> 24);
  let before: Float32Array;
  try {
    await exportWeights(weights, layout, out, encoder.write);
    before = await encoder.encode(pixels, probes, size);
  } finally {
    await encoder.close();
  }
  // A folder says its activation in a config, a single file in its metadata: nothing is passed here.
  const after = await embed(addon, await openWeights(out, { role: 'student' }), pixels, size);
  const scale = before.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = before.reduce((most, value, i) => Math.max(most, Math.abs(value - after[i]!)), 0) / scale;
  if (!(difference <= tolerance))
    throw new KueaError(
      'conversion_differs',
      `expected ${out} to give the embeddings of ${ref}, found a difference of ${difference}: please report it`,
    );
  return { difference };
}
