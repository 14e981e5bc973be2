import type { Ranking } from '../native/addon.js';
import { accuracy, imageRetrieval, type Measure, perClassRecall, textRetrieval } from './bootstrap.js';
import type { EvaluationResult } from './events.js';
import { hitsAt, mean, meanOrNull, type RetrievalRanks } from './metrics.js';

/** What each image adds to a measurement: what encoders are compared by. */
export interface PerImage {
  /** By metric. A metric that is no mean over images, such as a probe's objective, has none. */
  measures: Readonly<Record<string, Measure>>;
  /** How far the right answer is from the first place, 0 where it is there: in logits for classes, in places for captions. */
  miss: Float32Array;
}

/** A result, and what each image had to do with it. */
export interface Measured extends PerImage {
  result: EvaluationResult;
  /** Names of the images. */
  images: readonly string[];
}

/** Of the classes that `classify` gave, under metrics whose names begin with `prefix`. */
export function classificationPerImage(predicted: Ranking, labels: Int32Array, classes: number, prefix = ''): PerImage {
  const { k, indices, scores } = predicted;
  const first = hitsAt(predicted, labels, 1);
  return {
    measures: {
      [`${prefix}acc1`]: accuracy(first),
      ...(classes >= 5 && { [`${prefix}acc5`]: accuracy(hitsAt(predicted, labels, 5)) }),
      [`${prefix}mean_per_class_recall`]: perClassRecall(labels, first),
    },
    miss: Float32Array.from(labels, (label, i) => {
      const place = indices.subarray(i * k, (i + 1) * k).indexOf(label);
      return scores[i * k]! - scores[i * k + (place < 0 ? k - 1 : place)]!;
    }),
  };
}

/** Of rankings that hold the best `deepest` of each. */
export function retrievalPerImage(ranks: RetrievalRanks, owners: Int32Array, recallK: readonly number[]): PerImage {
  const deepest = Math.max(...recallK);
  return {
    measures: Object.fromEntries(
      recallK.flatMap((k) => [
        [`image_retrieval_recall@${k}`, imageRetrieval(ranks, owners, k)],
        [`text_retrieval_recall@${k}`, textRetrieval(ranks, k)],
      ]),
    ),
    miss: Float32Array.from(ranks.ofImages, (rank) => (rank < 0 ? deepest : rank)),
  };
}

/** One measurement of several that differ in their seed alone: metrics are means, and measures have the images of every seed. */
export function overSeeds(all: readonly Measured[]): Measured {
  const [first] = all as [Measured];
  if (all.length === 1) return first;
  return {
    ...first,
    result: {
      ...first.result,
      metrics: Object.fromEntries(
        Object.keys(first.result.metrics).map((name) => [name, meanOrNull(all.map(({ result }) => result.metrics[name]!))]),
      ),
      seconds: all.reduce((sum, { result }) => sum + result.seconds, 0),
    },
    measures: Object.fromEntries(
      Object.entries(first.measures).map(([name, measure]) => [
        name,
        { ...measure, values: all.flatMap(({ measures }) => measures[name]!.values) },
      ]),
    ),
    miss: first.miss.map((_, i) => mean(all.map(({ miss }) => miss[i]!))),
  };
}
