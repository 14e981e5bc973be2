import { KueaError } from '../../errors.js';
import type { MicroBatch } from '../../native/llava.js';
import { imageToken } from '../../text/vicuna.js';
import { Channel } from '../channel.js';
import { defaultConcurrency, Limiter } from '../concurrency.js';
import type { SkippedImages } from '../skipped.js';
import { firstFit, giveShares, imagesPerSlot, type LossNormalisation, measure, type PlannedSample, type SlotOptions } from './packing.js';
import type { UpdateSampler } from './sampler.js';
import type { SampleSource } from './source.js';

export interface MicroBatchLoaderOptions extends SlotOptions {
  source: SampleSource;
  sampler: UpdateSampler;
  /** The trainer's ring; `imagesPerSlot` images of [3, imageSize, imageSize] each, in the source's `pixels`. */
  slots: readonly Uint8Array[];
  /** Those that this loader may fill. Default: all. */
  slotNumbers?: readonly number[];
  imageSize: number;
  normalisation: LossNormalisation;
  /** This rank has the micro-batches m of an update with m % ranks = rank. */
  rank: number;
  ranks: number;
  /** Updates [startUpdate, endUpdate) are loaded. */
  startUpdate: number;
  endUpdate: number;
  /** Hears of undecodable images; ends the iteration when there are too many. */
  skipped: SkippedImages;
  /** Images in work at a time. Default: what the cores and the libuv pool can use. */
  concurrency?: number;
  signal?: AbortSignal;
}

/** What this rank has of one update. `samples`, `decodeMs` and `waitMs` grow as the micro-batches are drawn. */
export interface Update {
  /** From 0, over all epochs. */
  update: number;
  epoch: number;
  /**
   * None when this rank has nothing to learn in it. To be drawn to the end before the next update; each one's slot is the consumer's until
   * released.
   */
  microBatches: AsyncIterable<MicroBatch>;
  /** Samples in the micro-batches drawn. */
  samples: number;
  /** Longest that a micro-batch's images took, milliseconds. */
  decodeMs: number;
  /** How long the consumer stood waiting, milliseconds. */
  waitMs: number;
}

interface Filled {
  batch: MicroBatch;
  decodeMs: number;
}

/**
 * Reads the updates of a run ahead of their consumer, as far as there are free slots:
 * `for await (const update of loader) for await (const batch of update.microBatches) { ...; loader.release(batch.slot); }`.
 *
 * A sample with nothing to learn is left out; one whose image cannot be decoded is left out, too, and listed. The iteration ends with
 * KueaError `too_many_skipped`, what the source throws, or the signal's reason; when it has ended, however it did, nothing writes to the
 * slots any more.
 */
export class MicroBatchLoader implements AsyncIterable<Update> {
  private readonly free = new Channel<number>();
  /** The micro-batches of each update, and its end. */
  private readonly ready = new Channel<{ filling: Promise<Filled | null> } | 'end'>();
  private readonly filling = new Set<Promise<unknown>>();
  private readonly limiter: Limiter;
  /** Why nothing more is to be loaded: the first failure, or the end of the iteration. */
  private stopped: { reason: unknown } | undefined;

  constructor(private readonly options: MicroBatchLoaderOptions) {
    const { slots, slotNumbers = slots.map((_, i) => i), concurrency = defaultConcurrency() } = options;
    for (const slot of slotNumbers) this.free.push(slot);
    this.limiter = new Limiter(concurrency);
  }

  /** Gives a slot back to be filled. */
  release(slot: number): void {
    this.free.push(slot);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Update, void, void> {
    const { signal, startUpdate, endUpdate, sampler } = this.options;
    const stop = () => this.stop(signal!.reason);
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop);
    let producer: Promise<void> | undefined;
    try {
      producer = this.produce().catch((error: unknown) => this.stop(error));
      for (let number = startUpdate; number < endUpdate; number++) {
        const counts = { samples: 0, decodeMs: 0, waitMs: 0 };
        yield Object.assign(counts, { update: number, epoch: sampler.epochOf(number), microBatches: this.draw(counts) });
      }
    } finally {
      this.stop(new KueaError('stopped', 'the loader was stopped'));
      signal?.removeEventListener('abort', stop);
      await producer;
      await Promise.allSettled(this.filling);
    }
  }

  private stop(reason: unknown): void {
    this.stopped ??= { reason };
    this.free.close(reason);
    this.ready.close(reason);
  }

  private async *draw(update: Pick<Update, 'samples' | 'decodeMs' | 'waitMs'>): AsyncGenerator<MicroBatch, void, void> {
    for (;;) {
      const asked = performance.now();
      const next = await this.ready.take();
      const filled = next === 'end' ? null : await next.filling;
      update.waitMs += performance.now() - asked;
      if (next === 'end') return;
      if (!filled) continue;
      update.samples += filled.batch.lengths.length;
      update.decodeMs = Math.max(update.decodeMs, filled.decodeMs);
      yield filled.batch;
    }
  }

  /** Plans update after update, and begins a micro-batch whenever a slot is free. */
  private async produce(): Promise<void> {
    const { startUpdate, endUpdate } = this.options;
    for (let update = startUpdate; update < endUpdate; update++) {
      for (const pack of await this.plan(update)) {
        const batch = this.fill(await this.free.take(), pack);
        this.filling.add(batch);
        // Reported when its turn comes; until then a failure must not count as unhandled.
        batch.catch(() => {}).finally(() => this.filling.delete(batch));
        this.ready.push({ filling: batch });
      }
      this.ready.push('end');
    }
  }

  /** The samples of this rank's micro-batches in an update, packed: a function of the update alone. */
  private async plan(update: number): Promise<PlannedSample[][]> {
    const { source, sampler, rank, ranks, batchSize, normalisation, packing, maxLength } = this.options;
    const indices = sampler.indices(update);
    const batches: PlannedSample[][] = [];
    for (let first = rank * batchSize; first < indices.length; first += ranks * batchSize) {
      const samples = await Promise.all(
        Array.from(indices.subarray(first, first + batchSize), async (index, i) =>
          measure(await source.read(index), index, (update * sampler.perUpdate + first + i) >>> 0),
        ),
      );
      giveShares(samples, normalisation);
      batches.push(samples.filter(({ share }) => share > 0));
    }
    return packing ? firstFit(batches.flat(), maxLength, imagesPerSlot(this.options)) : batches.filter((samples) => samples.length > 0);
  }

  /**
   * Brings the images of a pack into a slot. Null, and the slot is free again, when none of its samples has an image that can be decoded.
   */
  private async fill(slot: number, pack: readonly PlannedSample[]): Promise<Filled | null> {
    const { slots, imageSize, source, patches } = this.options;
    const bytes = 3 * imageSize ** 2 * (source.pixels === 'u8' ? 1 : 4);
    const target = slots[slot]!;
    let started = Infinity;
    let place = 0;
    const loads = pack.map((sample) => {
      if (!sample.hasImage) return null;
      const at = place++;
      return this.limiter.run(async () => {
        started = Math.min(started, performance.now());
        return this.load(sample, target, at * bytes);
      });
    });
    // All of them, also after a failure: none may write to the slot later.
    const settled = await Promise.allSettled(loads);
    const failure = settled.find((s) => s.status === 'rejected');
    if (failure) {
      this.stop(failure.reason);
      throw failure.reason;
    }

    const kept: PlannedSample[] = [];
    let [from, to] = [0, 0];
    settled.forEach((s, i) => {
      const loaded = s.status === 'fulfilled' ? s.value : false;
      if (loaded === true) {
        if (to < from) target.copyWithin(to * bytes, from * bytes, (from + 1) * bytes);
        to++;
      }
      if (loaded !== null) from++;
      if (loaded !== false) kept.push(pack[i]!);
    });
    if (kept.length === 0) {
      this.release(slot);
      return null;
    }
    return { batch: assemble(slot, kept, patches), decodeMs: started === Infinity ? 0 : performance.now() - started };
  }

  /** Whether the sample's image now is at `offset`; false when it cannot be decoded and was listed. */
  private async load(sample: PlannedSample, target: Uint8Array, offset: number): Promise<boolean> {
    if (this.stopped) throw this.stopped.reason;
    try {
      await sample.copyPixels(target, offset);
      return true;
    } catch (error) {
      if (!(error instanceof KueaError) || error.code !== 'undecodable_image') throw error;
      await this.options.skipped.add({ index: sample.index, name: this.options.source.name(sample.index), reason: error.message });
      return false;
    }
  }
}

/** Lays samples end to end; the images of those that have one lie in the slot in this order. */
function assemble(slot: number, samples: readonly PlannedSample[], patches: number): MicroBatch {
  const total = samples.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const [tokens, labels, imageRows] = [new Int32Array(total), new Int32Array(total), [] as number[]];
  let [at, images] = [0, 0];
  for (const sample of samples) {
    tokens.set(sample.tokens, at);
    labels.set(sample.labels, at);
    at += sample.tokens.length;
    if (!sample.hasImage) continue;
    const places = sample.tokens.reduce((n, id) => n + (id === imageToken ? 1 : 0), 0);
    for (let patch = 0; patch < places; patch++) imageRows.push(images * patches + patch);
    images++;
  }
  return {
    slot,
    images,
    tokens,
    labels,
    lengths: Int32Array.from(samples, (s) => s.tokens.length),
    imageRows: Int32Array.from(imageRows),
    weights: Float32Array.from(samples, (s) => s.share / s.labelCount),
    sampleKeys: Uint32Array.from(samples, (s) => s.key),
    denominator: samples.reduce((sum, { share }) => sum + share, 0),
  };
}
