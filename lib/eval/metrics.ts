import { KueaError } from '../errors.js';
import type { Ranking } from '../native/addon.js';

/** What is compared between encoders and averaged over images: for each, whether it was right. */
export type Hits = Uint8Array;

export interface ClassificationMetrics {
  acc1: number;
  /** Null where there are fewer than five classes. */
  acc5: number | null;
  /** The mean over the classes that have images of the part of their images that are right. */
  mean_per_class_recall: number;
}

const none = (what: string) => new KueaError('no_samples', `expected at least one ${what} to measure on, found none: see the data's split`);

/** Whether the label is among the first `k` of each row. Throws KueaError `no_samples` and `bad_label`. */
export function hitsAt({ k: columns, indices }: Ranking, labels: Int32Array, k: number): Hits {
  if (labels.length === 0) throw none('image');
  if (labels.length * columns !== indices.length) {
    throw new KueaError('bad_label', `expected a label for each of ${indices.length / columns} images, found ${labels.length} labels`);
  }
  return Uint8Array.from(labels, (label, i) => (indices.subarray(i * columns, i * columns + Math.min(k, columns)).includes(label) ? 1 : 0));
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** The mean, or null where one of the values is. */
export const meanOrNull = (values: readonly (number | null)[]): number | null =>
  values.includes(null) ? null : mean(values as readonly number[]);

/** The mean over classes of the mean of their images' hits; a class without images does not count. */
export function meanPerClassRecall(hits: Hits, labels: Int32Array): number {
  const classes = new Map<number, { hits: number; images: number }>();
  for (const [i, label] of labels.entries()) {
    const of = classes.get(label) ?? { hits: 0, images: 0 };
    classes.set(label, { hits: of.hits + hits[i]!, images: of.images + 1 });
  }
  return mean([...classes.values()].map((of) => of.hits / of.images));
}

/** CLIP_benchmark's metrics of the classes that `classify` gave. Throws as `hitsAt`. */
export function classificationMetrics(predicted: Ranking, labels: Int32Array, classes: number): ClassificationMetrics {
  const wrong = labels.findIndex((label) => label < 0 || label >= classes);
  if (wrong >= 0)
    throw new KueaError(
      'bad_label',
      `expected labels from 0 to ${classes - 1}, found ${labels[wrong]} for image ${wrong}: do the class names belong to this data?`,
    );
  const first = hitsAt(predicted, labels, 1);
  return {
    acc1: mean(first),
    acc5: classes < 5 ? null : mean(hitsAt(predicted, labels, 5)),
    mean_per_class_recall: meanPerClassRecall(first, labels),
  };
}

export type ProbeMetrics = { [K in keyof ClassificationMetrics as `lp_${K}`]: ClassificationMetrics[K] };

/** The same under the names that a linear probe's metrics have. */
export function probeMetrics(predicted: Ranking, labels: Int32Array, classes: number): ProbeMetrics {
  const { acc1, acc5, mean_per_class_recall } = classificationMetrics(predicted, labels, classes);
  return { lp_acc1: acc1, lp_acc5: acc5, lp_mean_per_class_recall: mean_per_class_recall };
}

/** Where the first right answer stands in a ranking, from 0; -1 where it is not there. */
export interface RetrievalRanks {
  /** For each caption, that of its image among the images. */
  ofCaptions: Int32Array;
  /** For each image, that of the best of its own captions; -1 for an image that has none. */
  ofImages: Int32Array;
}

/**
 * `images`: for each caption the images that fit best; `captions`: for each image the captions that fit best; `owners`: the image of each
 * caption. Throws KueaError `no_samples` and `bad_owner`.
 */
export function retrievalRanks(images: Ranking, captions: Ranking, owners: Int32Array): RetrievalRanks {
  const count = captions.indices.length / captions.k;
  if (owners.length === 0) throw none('caption');
  const wrong = owners.findIndex((owner) => owner < 0 || owner >= count);
  if (wrong >= 0 || owners.length * images.k !== images.indices.length) {
    const found = wrong >= 0 ? `image ${owners[wrong]} for caption ${wrong}` : `${owners.length} for ${images.indices.length / images.k}`;
    throw new KueaError('bad_owner', `expected for each caption one of the ${count} images, found ${found}`);
  }
  const place = ({ k, indices }: Ranking, row: number, right: (index: number) => boolean) =>
    indices.subarray(row * k, row * k + k).findIndex(right);
  return {
    ofCaptions: owners.map((owner, caption) => place(images, caption, (image) => image === owner)),
    ofImages: Int32Array.from({ length: count }, (_, image) => place(captions, image, (caption) => owners[caption] === image)),
  };
}

export const within = (ranks: Int32Array, k: number): Hits => Uint8Array.from(ranks, (rank) => (rank >= 0 && rank < k ? 1 : 0));

/**
 * CLIP_benchmark's metrics: image_retrieval_recall@k is the part of the captions whose image is among the first k images,
 * text_retrieval_recall@k that of the images with one of their captions, at least, among the first k captions. A ranking that is shorter
 * than k holds everything there is.
 */
export function retrievalMetrics({ ofCaptions, ofImages }: RetrievalRanks, recallK: readonly number[]): Record<string, number> {
  return Object.fromEntries(
    recallK.flatMap((k) => [
      [`image_retrieval_recall@${k}`, mean(within(ofCaptions, k))],
      [`text_retrieval_recall@${k}`, mean(within(ofImages, k))],
    ]),
  );
}
