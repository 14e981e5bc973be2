import { ignoreLabel, imageToken } from '../../text/vicuna.js';
import type { Sample } from './source.js';

/**
 * What the loss of an update is the mean of. sample: of each sample's mean over its labels, as batch 1 with accumulation gives it; token:
 * of all labels alike; microbatch: of each micro-batch's mean over its labels, as the reference gives it (a micro-batch is `batchSize`
 * samples, however they are packed).
 */
export type LossNormalisation = 'sample' | 'token' | 'microbatch';

/** A sample of an update, with its part in the loss: `share` * (mean cross-entropy of its labels) / (sum of shares). */
export interface PlannedSample extends Sample {
  /** In the source. */
  index: number;
  /** Its ordinal in the run, modulo 2^32. */
  key: number;
  /** Labels that are predicted: a first token is not. */
  labelCount: number;
  hasImage: boolean;
  share: number;
}

/** A sample without its share. */
export function measure(sample: Sample, index: number, key: number): PlannedSample {
  const labelCount = sample.labels.reduce((n, label, t) => n + (t > 0 && label !== ignoreLabel ? 1 : 0), 0);
  return { ...sample, index, key, labelCount, hasImage: sample.tokens.includes(imageToken), share: 0 };
}

/** Gives the samples of one micro-batch their shares; one with nothing to learn has none. */
export function giveShares(samples: readonly PlannedSample[], normalisation: LossNormalisation): void {
  const all = samples.reduce((sum, { labelCount }) => sum + labelCount, 0);
  for (const sample of samples) {
    const { labelCount } = sample;
    if (labelCount === 0) sample.share = 0;
    else sample.share = { sample: 1, token: labelCount, microbatch: labelCount / all }[normalisation];
  }
}

export interface SlotOptions {
  packing: boolean;
  batchSize: number;
  maxLength: number;
  patches: number;
}

/** Images that a micro-batch may hold. */
export function imagesPerSlot({ packing, batchSize, maxLength, patches }: SlotOptions): number {
  return packing ? Math.max(1, Math.floor(maxLength / patches)) : batchSize;
}

/** Samples put together, in their order, to at most `maxLength` tokens and `images` images: each goes to the first pack that has room. */
export function firstFit(samples: readonly PlannedSample[], maxLength: number, images: number): PlannedSample[][] {
  const packs: { samples: PlannedSample[]; tokens: number; images: number }[] = [];
  for (const sample of samples) {
    const [tokens, image] = [sample.tokens.length, sample.hasImage ? 1 : 0];
    let pack = packs.find((p) => p.tokens + tokens <= maxLength && p.images + image <= images);
    if (!pack) packs.push((pack = { samples: [], tokens: 0, images: 0 }));
    pack.samples.push(sample);
    pack.tokens += tokens;
    pack.images += image;
  }
  return packs.map((pack) => pack.samples);
}
