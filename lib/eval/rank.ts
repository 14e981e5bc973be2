import { KueaError } from '../errors.js';
import type { Ranking } from '../native/addon.js';
import { loadAddon } from '../native/load.js';

/** fp32 rows, [rows, width] row-major, as encoders give them. Not to be written while a promise that was given them is pending. */
export interface Embeddings {
  data: Float32Array;
  width: number;
}

export const rowsOf = ({ data, width }: Embeddings): number => data.length / width;

/** Throws KueaError `bad_embeddings` unless these are whole rows, at least one. */
export function checkEmbeddings(embeddings: Embeddings, name: string, width = embeddings.width): void {
  const rows = rowsOf(embeddings);
  if (embeddings.width === width && Number.isInteger(rows) && rows >= 1) return;
  throw new KueaError(
    'bad_embeddings',
    `expected at least one row of ${width} numbers in the ${name}, found ${embeddings.data.length} numbers in rows of ` +
      `${embeddings.width}: give what one encoder, or both towers of one model, gave`,
  );
}

async function rank(queries: Embeddings, gallery: Embeddings, k: number, bothWays: boolean) {
  checkEmbeddings(queries, 'queries');
  checkEmbeddings(gallery, 'gallery', queries.width);
  if (!Number.isInteger(k) || k < 1) throw new KueaError('bad_option', `expected a whole number of at least 1 for k, found ${k}`);
  return loadAddon().topK({
    queries: { data: queries.data, normalise: true },
    gallery: { data: gallery.data, normalise: true },
    width: queries.width,
    k,
    bothWays,
  });
}

/**
 * The k rows of the gallery that are nearest to each query by cosine, with their cosines: all rows where the gallery has fewer than k.
 * Equal cosines come in the gallery's order, so the first of equal rows wins, as with argmax. Rejects with KueaError `non_finite`, naming
 * the row that holds NaN or infinity.
 */
export async function topK(queries: Embeddings, gallery: Embeddings, k: number): Promise<Ranking> {
  return (await rank(queries, gallery, k, false)).ofQueries;
}

/** topK(a, b, k) and topK(b, a, k) for the price of one. */
export async function topKBothWays(a: Embeddings, b: Embeddings, k: number): Promise<[Ranking, Ranking]> {
  const { ofQueries, ofGallery } = await rank(a, b, k, true);
  return [ofQueries, ofGallery!];
}

/** logits = scale * x / |x| . weight + bias, one row of `weight` a class, which is taken as it is. */
export interface Classifier {
  weight: Embeddings;
  bias?: Float32Array;
  /** Default 1. CLIP_benchmark's zero-shot classifier has 100, whatever the model's logit scale. */
  scale?: number;
}

/**
 * The best five classes of each row (all of them where there are fewer) and their logits, best first; equal logits by the lowest class.
 * Features may come in pieces: a row's result does not depend on the others. Rejects as topK does.
 */
export async function classify(features: Embeddings, { weight, bias, scale = 1 }: Classifier): Promise<Ranking> {
  checkEmbeddings(features, 'features', weight.width);
  const { ofQueries } = await loadAddon().topK({
    queries: { data: features.data, normalise: true },
    gallery: { data: weight.data, normalise: false },
    width: weight.width,
    k: 5,
    bothWays: false,
    ...(bias && { bias: bias.map((value) => value / scale) }),
  });
  return { ...ofQueries, scores: ofQueries.scores.map((score) => scale * score) };
}
