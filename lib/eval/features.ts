import type { Source } from '../data/images/source.js';
import { imageFeatures } from '../embed/image-features.js';
import { TextTower } from '../embed/texts.js';
import { openWeights, type WeightsFile } from '../models/open.js';
import { loadAddon } from '../native/load.js';
import type { Evaluation } from './events.js';
import { cacheOf, type EvaluationConfig } from './options.js';
import type { Embeddings } from './rank.js';

/**
 * The model of an evaluation: understood, not yet read. Its images are cropped as open_clip, and so CLIP_benchmark, crops them, whatever
 * layout it comes in: Hugging Face's own processor rounds the place of the crop the other way.
 */
export async function openModel({ model, activation }: EvaluationConfig, { emit }: Evaluation): Promise<WeightsFile> {
  emit({ type: 'phase', name: 'opening the model' });
  const weights = await openWeights(model, { role: 'student', activation });
  return { ...weights, preprocessing: { ...weights.preprocessing, centre: 'even' } };
}

/** Features of all images, from the cache where it has them. `raw`: of pixels that are not normalised. */
export async function featuresOf(
  weights: WeightsFile,
  images: Source,
  config: EvaluationConfig,
  { device, emit, signal, ranks }: Evaluation,
  raw = false,
): Promise<Embeddings> {
  const { precision, batchSize, workers } = config;
  emit({ type: 'phase', name: `embedding ${images.length} images` });
  const data = await imageFeatures(weights, images, {
    precision,
    device,
    batchSize,
    workers,
    normalisation: raw ? 'none' : 'model',
    cache: cacheOf(config),
    ranks,
    signal,
    onProgress: (done, of) => emit({ type: 'tick', step: done, steps: of }),
  });
  return { data, width: weights.dim };
}

/** Features of texts, un-normalised. */
export async function textFeatures(
  weights: WeightsFile,
  texts: readonly string[],
  { precision, batchSize }: EvaluationConfig,
  { device, emit, signal }: Evaluation,
): Promise<Embeddings> {
  emit({ type: 'phase', name: `embedding ${texts.length} texts` });
  const tower = await TextTower.open(weights, loadAddon(), { precision, device, batchSize });
  try {
    return { data: await tower.encode(texts, signal), width: tower.dim };
  } finally {
    await tower.close();
  }
}
