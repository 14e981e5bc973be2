import { openRetrieval } from '../data/labelled/retrieval.js';
import type { Evaluation } from './events.js';
import { featuresOf, openModel, textFeatures } from './features.js';
import { type Measured, retrievalPerImage } from './measured.js';
import { retrievalMetrics, retrievalRanks } from './metrics.js';
import { placeOf, type RetrievalConfig } from './options.js';
import { topKBothWays } from './rank.js';
import { resultOf } from './result.js';

/** The published code cuts captions at so many characters, where a text tower's context is as many tokens. */
const publishedCut = 77;

/**
 * Retrieval of images by captions and of captions by images as CLIP_benchmark defines it. Under kuea-release pixels are not normalised and
 * captions are cut at 77 characters, as the published evaluation does it.
 */
export async function retrieval(config: RetrievalConfig, evaluation: Evaluation): Promise<Measured> {
  const started = performance.now();
  const { split, annotations, images, recallK, allowPartial, protocol } = config;
  const isPublished = protocol === 'kuea-release';
  const weights = await openModel(config, evaluation);
  const set = await openRetrieval(annotations ?? placeOf(config), { split, images, allowPartial, signal: evaluation.signal });
  try {
    for (const message of set.notes) evaluation.emit({ type: 'warning', message });
    // Characters are what Python counts: code points.
    const captions = isPublished ? set.captions.map((caption) => [...caption].slice(0, publishedCut).join('')) : set.captions;
    const texts = await textFeatures(weights, captions, config, evaluation);
    const features = await featuresOf(weights, set.images, config, evaluation, isPublished);
    evaluation.emit({ type: 'phase', name: 'ranking' });
    const [ofTexts, ofImages] = await topKBothWays(texts, features, Math.max(...recallK));
    const owners = Int32Array.from(set.owner);
    const ranks = retrievalRanks(ofTexts, ofImages, owners);
    const metrics = retrievalMetrics(ranks, recallK);
    return {
      result: await resultOf('zeroshot_retrieval', config, weights, set, set.images.length, metrics, started),
      images: Array.from({ length: set.images.length }, (_, i) => set.images.name(i)),
      ...retrievalPerImage(ranks, owners, recallK),
    };
  } finally {
    await set.close();
  }
}
