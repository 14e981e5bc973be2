import { KueaError } from '../../errors.js';
import { defaultConcurrency, Limiter } from '../concurrency.js';
import type { SkippedImages } from '../skipped.js';
import type { Preprocessing } from './geometry.js';
import { preprocess } from './preprocess.js';
import type { Sampler } from './sampler.js';
import type { Source } from './source.js';

export interface LoaderOptions {
  source: Source;
  sampler: Sampler;
  /** The ring: uint8 [batch size, 3, S, S] each. */
  slots: readonly Uint8Array[];
  /** Those that this loader may fill. Default: all. */
  slotNumbers?: readonly number[];
  preprocessing: Preprocessing;
  /** Global steps [startStep, endStep) are loaded. */
  startStep: number;
  endStep: number;
  /** Hears of undecodable images; ends the iteration when there are too many. */
  skipped: SkippedImages;
  /** Let a batch pass of which no image can be decoded: other ranks have parts of it too. */
  mayBeEmpty?: boolean;
  /** Images in work at a time. Default: what the cores and the libuv pool can use. */
  concurrency?: number;
  signal?: AbortSignal;
}

/** A slot that is ready for a step: images [0, count) of it are filled, in the sampler's order. It is the consumer's until released. */
export interface FilledSlot {
  slot: number;
  count: number;
  /** Index in the source of each image in the slot. */
  rows: Uint32Array;
  epoch: number;
  step: number;
  /** From the start of the batch's first image to the end of its last, milliseconds. */
  decodeMs: number;
  /** How long the consumer stood waiting for this batch, milliseconds. */
  waitMs: number;
}

/**
 * Fills the slots of a ring ahead of the consumer. Use: `for await (const batch of loader) { ...; loader.release(batch.slot); }`; a slot is
 * filled again only once released. Undecodable images drop out of their batch and are listed; the others move up. The iteration ends with
 * KueaError `too_many_skipped`, `pixel_size`, `empty_batch` or the signal's reason; when it has ended, however it did, nothing
 * writes to the slots any more.
 */
export class Loader implements AsyncIterable<FilledSlot> {
  private readonly free: number[];
  private readonly pending: Promise<Omit<FilledSlot, 'waitMs'>>[] = [];
  private readonly limiter: Limiter;
  private readonly imageBytes: number;
  private nextStep: number;
  /** Nothing is read before somebody asks for it. */
  private iterating = false;
  /** Why nothing more is to be loaded: the first failure, or the end of the iteration. */
  private stopped: { reason: unknown } | undefined;
  private wake: () => void = () => {};

  constructor(private readonly options: LoaderOptions) {
    const { source, preprocessing, slots, slotNumbers = slots.map((_, i) => i), concurrency = defaultConcurrency() } = options;
    if (source.kind === 'pixels' && source.size !== preprocessing.crop) {
      throw new KueaError(
        'pixel_size',
        `expected pixels of ${preprocessing.crop} x ${preprocessing.crop}, which the model takes, found ${source.size} x ${source.size} ` +
          `in the file`,
      );
    }
    this.free = [...slotNumbers];
    this.imageBytes = 3 * preprocessing.crop ** 2;
    this.limiter = new Limiter(concurrency);
    this.nextStep = options.startStep;
  }

  /** Gives a slot back to be filled. */
  release(slot: number): void {
    this.free.push(slot);
    this.start();
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FilledSlot, void, void> {
    const { signal, endStep, startStep } = this.options;
    this.iterating = true;
    const abort = () => this.wake();
    signal?.addEventListener('abort', abort);
    try {
      for (let step = startStep; step < endStep; step++) {
        const asked = performance.now();
        this.start();
        while (this.pending.length === 0) {
          signal?.throwIfAborted();
          await new Promise<void>((resolve) => (this.wake = resolve));
        }
        const filled = await this.pending.shift()!;
        signal?.throwIfAborted();
        yield { ...filled, waitMs: performance.now() - asked };
      }
    } finally {
      this.stopped ??= { reason: new KueaError('stopped', 'the loader was stopped') };
      signal?.removeEventListener('abort', abort);
      await Promise.allSettled(this.pending);
    }
  }

  /** Begins a batch in every free slot. */
  private start(): void {
    while (this.iterating && !this.stopped && this.free.length > 0 && this.nextStep < this.options.endStep) {
      const batch = this.fill(this.free.shift()!, this.nextStep++);
      // Reported when its turn comes; until then a failure must not count as unhandled.
      batch.catch(() => {});
      this.pending.push(batch);
    }
  }

  private async fill(slot: number, step: number): Promise<Omit<FilledSlot, 'waitMs'>> {
    const { sampler, slots } = this.options;
    const indices = sampler.batchIndices(step);
    const target = slots[slot]!;
    let started = Infinity;
    const loads = Array.from(indices, (index, position) =>
      this.limiter.run(async () => {
        started = Math.min(started, performance.now());
        return this.load(index, target, position * this.imageBytes);
      }),
    );
    // All of them, also after a failure: none may write to the slot later.
    const settled = await Promise.allSettled(loads);
    const failure = settled.find((s) => s.status === 'rejected');
    if (failure) {
      this.stopped ??= failure;
      throw this.stopped.reason;
    }

    const rows = new Uint32Array(indices.length);
    let count = 0;
    settled.forEach((s, position) => {
      if (s.status === 'rejected' || !s.value) return;
      if (count < position) target.copyWithin(count * this.imageBytes, position * this.imageBytes, (position + 1) * this.imageBytes);
      rows[count++] = indices[position]!;
    });
    if (count === 0 && !this.options.mayBeEmpty)
      throw new KueaError(
        'empty_batch',
        `expected an image that can be decoded in step ${step}, found none in its ${indices.length}: mend the data or use a larger ` +
          `batch size`,
      );
    return {
      slot,
      count,
      rows: rows.subarray(0, count),
      epoch: sampler.epochOf(step),
      step,
      decodeMs: indices.length > 0 ? performance.now() - started : 0,
    };
  }

  /** Whether image `index` now is at `offset`; false when it cannot be decoded and was listed. */
  private async load(index: number, target: Uint8Array, offset: number): Promise<boolean> {
    const { source, preprocessing, signal } = this.options;
    signal?.throwIfAborted();
    if (this.stopped) throw this.stopped.reason;
    if (source.kind === 'pixels') {
      await source.copy(index, target, offset);
      return true;
    }
    try {
      await preprocess(await source.read(index), preprocessing, target, offset);
      return true;
    } catch (error) {
      if (!(error instanceof KueaError) || error.code !== 'undecodable_image') throw error;
      await this.options.skipped.add({ index, name: source.name(index), reason: error.message });
      return false;
    }
  }
}
