import { checkTexts } from '../config/arguments.js';
import { checkTemplate, fillTemplate } from '../data/labelled/templates.js';
import type { Encoder } from '../embed/encoder.js';
import { KueaError } from '../errors.js';
import { type Embeddings, topK } from './rank.js';

/** What CLIP_benchmark multiplies cosines with, whatever the model's own scale. */
export const benchmarkScale = 100;

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

/** What an image may show. */
export interface Prediction {
  class: string;
  /** Place of the class among those that were given. */
  index: number;
  /** Cosine of the image's embedding and the class's. */
  cosine: number;
  /** Softmax over all classes of the cosines times the model's logit scale (100 where its file has none). */
  probability: number;
}

export interface ZeroShotClassifier {
  readonly classes: readonly string[];
  /** Of each image (path or bytes) the `k` likeliest classes, best first. Default 5. Rejects as `encoder.encodeImages` does. */
  classify(images: readonly (string | Uint8Array)[], k?: number): Promise<Prediction[][]>;
}

/**
 * A classifier of the classes' names, in the way of CLIP: a class is the mean of its name in every template, `{c}` standing for the name.
 * It is the encoder's, which stays its owner's to close. Rejects with KueaError `bad_option`, `no_classes`, `bad_template`, and as
 * `encoder.encodeTexts` does.
 */
export async function zeroShotClassifier(
  encoder: Encoder,
  classes: readonly string[],
  templates: readonly string[] = ['a photo of a {c}.'],
): Promise<ZeroShotClassifier> {
  const names = checkTexts(classes);
  checkTexts(templates);
  if (classes.length === 0 || templates.length === 0)
    throw new KueaError(
      'no_classes',
      `expected at least one class and one template, found ${classes.length} classes and ${templates.length} templates`,
    );
  for (const template of templates) checkTemplate(template, 'the templates');
  const prompts = names.flatMap((name) => templates.map((template) => fillTemplate(template, name)));
  const width = encoder.dim;
  const means = meanOfPrompts({ data: await encoder.encodeTexts(prompts), width }, templates.length);
  return {
    classes: names,
    async classify(images, k = 5) {
      if (!Number.isInteger(k) || k < 1) throw new KueaError('bad_option', `expected a whole number of at least 1 for k, found ${k}`);
      if (images.length === 0) return [];
      const all = await topK({ data: await encoder.encodeImages(images), width }, means, names.length);
      return images.map((_, i) => {
        const cosines = all.scores.subarray(i * all.k, (i + 1) * all.k);
        const powers = Float64Array.from(cosines, (cosine) => Math.exp((encoder.logitScale ?? benchmarkScale) * (cosine - cosines[0]!)));
        const sum = powers.reduce((a, b) => a + b, 0);
        return Array.from(cosines.subarray(0, k), (cosine, place) => {
          const index = all.indices[i * all.k + place]!;
          return { class: names[index]!, index, cosine, probability: powers[place]! / sum };
        });
      });
    },
  };
}
