import { stat } from 'node:fs/promises';
import { mix665k } from '../data/conversations/mix665k.js';
import { openSamples } from '../data/conversations/open.js';
import { split } from '../data/split.js';
import { KueaError } from '../errors.js';
import { openAdapter } from '../models/llava/adapter.js';
import { openLlava } from '../models/llava/open.js';
import { readLlavaShape } from '../models/llava/shape.js';
import { openTokenizer } from '../text/tokenizer.js';
import type { LoraConfig } from './options.js';
import { adapterShape, cardBytes, type LoraPlan, type LoraPlanInput, planLora } from './plan.js';

/** As published. */
const mixSamples = 665_298;

type Data = Pick<LoraPlanInput, 'samples' | 'leftOut' | 'pixelBytes'>;

/**
 * What a run would do, from config.json and the data: no weights are fetched and none loaded, and llava-665k is taken as published. `notes`
 * say what was not there to be checked. Throws what a run would throw on the same data or adapter.
 */
export async function planWithoutWeights(
  config: LoraConfig,
  ranks: number,
  device: string,
  signal: AbortSignal | undefined,
): Promise<{ plan: LoraPlan; notes: string[] }> {
  const shape = await readLlavaShape(config.model, config.visionTower);
  const notes = [...shape.notes, ...(await checkWeights(config))];
  const adapter = config.adapter === undefined ? null : await openAdapter(config.adapter);
  const { samples, leftOut, pixelBytes } = await countSamples(config, shape, signal);
  const held = split(samples, config.valFraction, config.seed).validation.length;
  const plan = planLora(config, {
    vision: shape.vision,
    llama: shape.llama,
    feature: config.visionFeature ?? adapter?.trainedOn?.feature ?? 'hidden',
    ...adapterShape(config, adapter),
    samples: samples - held,
    validation: held,
    leftOut,
    pixelBytes,
    ranks,
    device,
    card: cardBytes(config),
  });
  return { plan, notes };
}

/** Opens the weights that are on this machine, as a run would; those that are missing are a note, not a failure. */
async function checkWeights({
  model,
  visionTower,
  activation,
  projector,
  adapter,
  visionFeature: feature,
  anyBase,
}: LoraConfig): Promise<string[]> {
  if (!(await stat(model).catch(() => null))) return [`${model} is on the hub: its weights are fetched when a run starts`];
  try {
    await openLlava(model, { visionTower, activation, projector, adapter, feature, anyBase });
    return [];
  } catch (error) {
    if (!(error instanceof KueaError) || !['weights_not_found', 'tower_not_found', 'projector_not_found'].includes(error.code)) throw error;
    return [error.message];
  }
}

async function countSamples(
  config: LoraConfig,
  { vision, imageToken }: Awaited<ReturnType<typeof readLlavaShape>>,
  signal: AbortSignal | undefined,
): Promise<Data> {
  const { data, images, maxLength, missing, verifyImages, model } = config;
  if (data === mix665k) return { samples: mixSamples, leftOut: 0, pixelBytes: 1 };
  const tokenizer = data.endsWith('.safetensors') ? null : await openTokenizer(model);
  const patches = (vision.imageSize / vision.patchSize) ** 2;
  const source = await openSamples(data, {
    images,
    tokenizer,
    size: vision.imageSize,
    aspect: 'pad',
    patches,
    imageToken,
    maxLength,
    missing,
    verifyImages,
    signal,
  });
  try {
    return { samples: source.length, leftOut: source.skipped, pixelBytes: source.pixels === 'u8' ? 1 : 4 };
  } finally {
    await source.close();
  }
}
