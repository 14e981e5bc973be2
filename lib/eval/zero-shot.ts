import { openClassified } from '../data/labelled/classified.js';
import { promptsOf } from '../data/labelled/templates.js';
import { KueaError } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';
import type { WeightsFile } from '../models/kind.js';
import type { Ranking } from '../native/addon.js';
import type { Evaluation, EvaluationResult } from './events.js';
import { featuresOf, openModel, textFeatures } from './features.js';
import { classificationMetrics } from './metrics.js';
import { placeOf, type ZeroShotConfig } from './options.js';
import { type Classifier, classify, type Embeddings } from './rank.js';
import { resultOf } from './result.js';

/** What CLIP_benchmark multiplies cosines with, whatever the model's own scale. */
const scale = 100;

/**
 * The mean of each class's prompts, each normalised before and the mean after: [classes, width]. `prompts` has the rows of a class one
 * after the other, `each` of them.
 */
export function meanOfPrompts({ data, width }: Embeddings, each: number): Embeddings {
  const classes = data.length / width / each;
  const means = new Float32Array(classes * width);
  const normalise = (row: Float32Array) => {
    const norm = Math.max(Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)), 1e-12);
    return row.map((x) => x / norm);
  };
  for (let c = 0; c < classes; c++) {
    const sum = new Float64Array(width);
    for (let i = 0; i < each; i++) {
      const prompt = normalise(data.subarray((c * each + i) * width, (c * each + i + 1) * width));
      for (let d = 0; d < width; d++) sum[d]! += prompt[d]!;
    }
    means.set(normalise(Float32Array.from(sum, (x) => x / each)), c * width);
  }
  return { data: means, width };
}

/** The classifier of zero-shot classification: a row a class, from its name in every template. */
export async function zeroShotWeights(
  weights: WeightsFile,
  prompts: readonly (readonly string[])[],
  config: ZeroShotConfig,
  evaluation: Evaluation,
): Promise<Classifier> {
  const texts = await textFeatures(weights, prompts.flat(), config, evaluation);
  return { weight: meanOfPrompts(texts, prompts[0]!.length), scale };
}

/** Zero-shot classification as CLIP_benchmark defines it. */
export async function zeroShot(config: ZeroShotConfig, evaluation: Evaluation): Promise<EvaluationResult> {
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
    return await resultOf('zeroshot_classification', config, weights, set, labels.length, metrics, started);
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
