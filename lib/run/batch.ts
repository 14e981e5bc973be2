import { KueaError } from '../errors.js';

/** How an update's batch is cut, as far as somebody has said. */
export interface BatchOptions {
  /** Samples of an update, over all ranks. */
  batchSize?: number | undefined;
  /** Samples that a rank has in memory at a time. */
  microBatch?: number | undefined;
  /** Micro-batches of an update, on each rank. */
  gradAccum?: number | undefined;
}

/** How it is cut. */
export type BatchCut = { batchSize: number; microBatch: number; gradAccum: number };

type Name = (key: string) => string;
const asKey: Name = (key) => key;
const counted = (ranks: number) => `${ranks} ${ranks === 1 ? 'rank' : 'ranks'}`;

/**
 * The cut of a batch whose parts are added up: batch = micro-batch x accumulation x ranks. Any two give the third; one alone is completed
 * with `defaults`, and none at all is `defaults`. Throws KueaError `bad_option`, with the keys as `name` spells them, when they do not fit.
 */
export function cutBatch(
  { batchSize, microBatch, gradAccum }: BatchOptions,
  ranks: number,
  defaults: { microBatch: number; gradAccum: number },
  name: Name = asKey,
): BatchCut {
  if (batchSize === undefined) {
    const cut = { microBatch: microBatch ?? defaults.microBatch, gradAccum: gradAccum ?? defaults.gradAccum };
    return { batchSize: cut.microBatch * cut.gradAccum * ranks, ...cut };
  }
  if (microBatch !== undefined && gradAccum !== undefined) {
    if (microBatch * gradAccum * ranks === batchSize) return { batchSize, microBatch, gradAccum };
    throw new KueaError(
      'bad_option',
      `expected ${name('batchSize')} = ${name('microBatch')} x ${name('gradAccum')} x ranks, found ${batchSize} and ${microBatch} x ` +
        `${gradAccum} x ${ranks} = ${microBatch * gradAccum * ranks}: leave one of the three out`,
    );
  }
  // An accumulation that was given determines the micro-batch; otherwise it is the other way round.
  const [key, part] =
    gradAccum !== undefined ? (['gradAccum', gradAccum] as const) : (['microBatch', microBatch ?? defaults.microBatch] as const);
  const other = batchSize / (part * ranks);
  if (!Number.isInteger(other))
    throw new KueaError(
      'bad_option',
      `expected a ${name('batchSize')} that ${name(key)} ${part} x ${counted(ranks)} = ${part * ranks} divides, found ${batchSize}`,
    );
  return key === 'gradAccum' ? { batchSize, microBatch: other, gradAccum: part } : { batchSize, microBatch: part, gradAccum: other };
}

/**
 * The cut of a batch whose loss is that of all its images together (GradCache): each rank has its share of the batch, some one less than
 * the first, and goes through it micro-batch by micro-batch, the last of which may be smaller. Throws KueaError `bad_option`.
 */
export function shareBatch(
  { batchSize, microBatch, gradAccum }: BatchOptions,
  ranks: number,
  defaultBatch: number,
  name: Name = asKey,
): BatchCut {
  const batch = batchSize ?? (microBatch !== undefined && gradAccum !== undefined ? microBatch * gradAccum * ranks : defaultBatch);
  const share = Math.ceil(batch / ranks);
  if (microBatch !== undefined && microBatch > batch)
    throw new KueaError('bad_option', `expected a ${name('microBatch')} of at most ${name('batchSize')}, ${batch}, found ${microBatch}`);
  const micro = microBatch === undefined ? Math.ceil(share / (gradAccum ?? 1)) : Math.min(microBatch, share);
  const passes = Math.ceil(share / micro);
  if (gradAccum !== undefined && gradAccum !== passes)
    throw new KueaError(
      'bad_option',
      `expected ${name('gradAccum')} ${passes}, since a rank's ${share} of ${batch} images make ${passes} micro-batches of ${micro}, ` +
        `found ${gradAccum}: leave it out`,
    );
  return { batchSize: batch, microBatch: micro, gradAccum: passes };
}
