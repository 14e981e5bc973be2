import { openClassified } from '../data/labelled/classified.js';
import { promptsOf } from '../data/labelled/templates.js';
import { KueaError } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';
import type { WeightsFile } from '../models/kind.js';
import type { Ranking } from '../native/addon.js';
import { benchmarkScale, meanOfPrompts } from './classifier.js';
import type { Evaluation } from './events.js';
import { featuresOf, openModel, textFeatures } from './features.js';
import { classificationPerImage, type Measured } from './measured.js';
import { classificationMetrics } from './metrics.js';
import { placeOf, type ZeroShotConfig } from './options.js';
import { type Classifier, classify } from './rank.js';
import { resultOf } from './result.js';

/** The classifier of zero-shot classification: a row a class, from its name in every template. */
async function zeroShotWeights(
  weights: WeightsFile,
  prompts: readonly (readonly string[])[],
  config: ZeroShotConfig,
  evaluation: Evaluation,
): Promise<Classifier> {
  const texts = await textFeatures(weights, prompts.flat(), config, evaluation);
  return { weight: meanOfPrompts(texts, prompts[0]!.length), scale: benchmarkScale };
}

/** Zero-shot classification as CLIP_benchmark defines it. */
export async function zeroShot(config: ZeroShotConfig, evaluation: Evaluation): Promise<Measured> {
  const started = performance.now();
  const { split, classes, templates, protocol, allowPartial } = config;
  const weights = await openModel(config, evaluation);
  const set = await openClassified(placeOf(config), { split, classes, templates, protocol, allowPartial, signal: evaluation.signal });
  try {
    for (const message of set.notes) evaluation.emit({ type: 'warning', message });
    if (set.answers.kind !== 'one')
      throw new KueaError('wrong_task', 'expected one class for each image, found several: mean average precision is not measured yet');
    const classifier = await zeroShotWeights(weights, promptsOf(set), config, evaluation);
    const features = await featuresOf(weights, set.images, config, evaluation);
    const predicted = await classify(features, classifier);
    const labels = Int32Array.from(set.answers.labels);
    if (config.predictions !== undefined && evaluation.ranks.rank === 0) {
      await writeFileAtomically(
        config.predictions,
        predictionLines(predicted, labels, (i) => set.images.name(i)),
      );
    }
    const metrics = { ...classificationMetrics(predicted, labels, set.classCount) };
    return {
      result: await resultOf('zeroshot_classification', config, weights, set, labels.length, metrics, started),
      images: Array.from(labels, (_, i) => set.images.name(i)),
      ...classificationPerImage(predicted, labels, set.classCount),
    };
  } finally {
    await set.close();
  }
}

/** A line an image: {image, label, top5, logits}. */
function predictionLines({ k, indices, scores }: Ranking, labels: Int32Array, name: (i: number) => string): string {
  const lines = Array.from(labels, (label, i) => {
    const row = <T extends Int32Array | Float32Array>(values: T) => [...values.subarray(i * k, (i + 1) * k)];
    return JSON.stringify({ image: name(i), label, top5: row(indices), logits: row(scores) });
  });
  return lines.map((line) => `${line}\n`).join('');
}
