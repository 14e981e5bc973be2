import type { Embeddings } from '../../../lib/eval/rank.js';
import type { Ranking } from '../../../lib/native/addon.js';

/** A ranking by plain sorting: scores descending, equal ones by the lowest index. */
export function ranked(scores: readonly (readonly number[])[], most: number): Ranking {
  const k = Math.min(most, scores[0]!.length);
  const order = scores.map((row) =>
    row
      .map((score, index) => ({ score, index }))
      .sort((a, b) => b.score - a.score || a.index - b.index)
      .slice(0, k),
  );
  const all = order.flat();
  return { k, indices: Int32Array.from(all, ({ index }) => index), scores: Float32Array.from(all, ({ score }) => score) };
}

export const embeddings = (rows: readonly (readonly number[])[]): Embeddings => ({
  data: Float32Array.from(rows.flat()),
  width: rows[0]!.length,
});

/** One golden case of accuracies. */
export interface ClassificationCase {
  name: string;
  scores: number[][];
  labels: number[];
  acc1: number;
  acc5: number | null;
  mean_per_class_recall: number;
}

export interface RetrievalCase {
  name: string;
  images: number[][];
  texts: number[][];
  owners: number[];
  ks: number[];
  metrics: Record<string, number>;
}
