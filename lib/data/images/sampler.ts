import { KueaError } from '../../errors.js';
import { generator } from '../random.js';

/**
 * A permutation of 0 .. n - 1 that (n, seed, epoch) determine, for ever and on every machine: Fisher-Yates from the last place down, each
 * index drawn without bias by rejection. `seed` is a whole number from 0 to 2^53 - 1, `epoch` one from 0 to 2^32 - 2.
 */
export function permutation(n: number, seed: number, epoch: number): Uint32Array {
  const next = generator(seed, epoch);
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i;
  for (let i = n - 1; i > 0; i--) {
    const mask = 0xffffffff >>> Math.clz32(i);
    let j = next() & mask;
    while (j > i) j = next() & mask;
    const last = order[i]!;
    order[i] = order[j]!;
    order[j] = last;
  }
  return order;
}

/** The stream that --fraction's subset is drawn from: no epoch has this number. */
const subsetStream = 0xffffffff;

/** round(fraction * n) of n indices, at least one, drawn by `seed`, ascending as they are. */
function subset(among: Uint32Array, fraction: number, seed: number): Uint32Array {
  if (fraction === 1) return among;
  const places = permutation(among.length, seed, subsetStream).subarray(0, Math.max(1, Math.round(fraction * among.length)));
  return places.sort().map((place) => among[place]!);
}

export interface SamplerOptions {
  /** Images in the source. */
  length: number;
  batchSize: number;
  seed: number;
  /** False: the source's order, every epoch. */
  shuffle: boolean;
  /** Indices of the images that may be used, ascending. Default: all. */
  among?: Uint32Array;
  /** Part of those that is used at all, in (0, 1]; the same ones in every epoch. Default 1. */
  fraction?: number;
  /** Leave out an epoch's last, smaller batch. Default true, as the published loop does. */
  dropLast?: boolean;
  /** Which part of each batch is dealt here: that of rank `rank` of `worldSize`. Default: all of it. */
  rank?: number;
  worldSize?: number;
}

/**
 * Which images make up which step. Stateless: a function of the global step, so that resuming needs the step's number alone. The batches
 * are the same whatever the number of ranks: each is cut into consecutive parts, the first batchSize % worldSize of which have one image
 * more.
 */
export class Sampler {
  /** Images that take part. */
  readonly images: number;
  readonly stepsPerEpoch: number;
  /** Indices of those images, ascending. */
  readonly members: Uint32Array;
  /** Images of a full batch that fall to this rank. */
  readonly rankBatchSize: number;
  private current: { epoch: number; order: Uint32Array } | undefined;

  /** Throws KueaError `bad_option`, and `too_few_images` when the images do not fill one batch. */
  constructor(private readonly options: SamplerOptions) {
    const { length, batchSize, seed, fraction = 1, dropLast = true } = options;
    const among = options.among ?? Uint32Array.from({ length }, (_, i) => i);
    if (!(fraction > 0 && fraction <= 1)) throw new KueaError('bad_option', `expected a fraction above 0 and up to 1, found ${fraction}`);
    if (!Number.isSafeInteger(seed) || seed < 0) throw new KueaError('bad_option', `expected a seed from 0 to 2^53 - 1, found ${seed}`);
    const { from, to } = this.part(batchSize);
    this.rankBatchSize = to - from;
    this.members = subset(among, fraction, seed);
    this.images = this.members.length;
    this.stepsPerEpoch = dropLast ? Math.floor(this.images / batchSize) : Math.ceil(this.images / batchSize);
    if (this.stepsPerEpoch === 0) {
      throw new KueaError(
        'too_few_images',
        `expected at least one batch of ${batchSize} images, found ` +
          `${this.images}${fraction < 1 ? ` (fraction ${fraction} of ${among.length})` : ''}: use a smaller batch size`,
      );
    }
  }

  epochOf(step: number): number {
    return Math.floor(step / this.stepsPerEpoch);
  }

  /**
   * Indices into the source of global step `step` (from 0): batchSize of them, fewer in an epoch's last batch unless dropped; of those,
   * this rank's.
   */
  batchIndices(step: number): Uint32Array {
    const order = this.order(this.epochOf(step));
    const start = (step % this.stepsPerEpoch) * this.options.batchSize;
    const batch = order.slice(start, start + this.options.batchSize);
    const { from, to } = this.part(batch.length);
    return batch.subarray(from, to);
  }

  /** Which of a batch's `count` images are this rank's. */
  private part(count: number): { from: number; to: number } {
    const { rank = 0, worldSize = 1 } = this.options;
    const least = Math.floor(count / worldSize);
    const more = count % worldSize;
    const from = rank * least + Math.min(rank, more);
    return { from, to: from + least + (rank < more ? 1 : 0) };
  }

  private order(epoch: number): Uint32Array {
    if (!this.options.shuffle) return this.members;
    if (this.current?.epoch !== epoch) {
      const order = permutation(this.images, this.options.seed, epoch).map((i) => this.members[i]!);
      this.current = { epoch, order };
    }
    return this.current!.order;
  }
}
