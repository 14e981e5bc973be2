import { KueaError } from '../errors.js';

/** What a program gives to the one training loop: its batches, and a step that reports `Metrics` when it is asked to log. */
export interface Training<Batch, Metrics> {
  /** Batches in order, from update `start` on. */
  batches: AsyncIterable<Batch>;
  /** Updates already made, and the number to reach. */
  start: number;
  steps: number;
  logEvery: number;
  /** Whether it is saved after `step` updates; it is at the end in any case. */
  savesAfter(step: number): boolean;
  learningRate(step: number): number;
  /** Update `step`, from 0; its metrics when `log` is set. Resolves when the batch's memory may be filled again. */
  step(batch: Batch, step: number, lr: number, log: boolean): Promise<Metrics | null>;
  release(batch: Batch): void;
  /** After `step` updates; `metrics` when they were asked for. */
  onStep(step: number, batch: Batch, lr: number, metrics: Metrics | null): Promise<void>;
  /** Saves the state after `step` updates. */
  save(step: number): Promise<void>;
  /** Asks to stop: the step that runs is finished and saved. */
  signal?: AbortSignal | undefined;
}

/**
 * The one loop. Returns the number of updates made in total: less than `steps` when the signal stopped it. A failing step (a non-finite
 * loss, say) ends it with the step named; the last checkpoint stays.
 */
export async function train<Batch, Metrics>(training: Training<Batch, Metrics>): Promise<number> {
  const { start, steps, logEvery, signal } = training;
  let done = start;
  let saved = start;
  if (done < steps && !signal?.aborted) {
    for await (const batch of training.batches) {
      const lr = training.learningRate(done);
      const log = done === 0 || (done + 1) % logEvery === 0 || done + 1 === steps;
      let metrics: Metrics | null;
      try {
        metrics = await training.step(batch, done, lr, log);
      } catch (error) {
        if (!(error instanceof KueaError)) throw error;
        throw new KueaError(
          error.code,
          `step ${done + 1}: ${error.message}; ${saved > 0 ? `the checkpoint of step ${saved} is kept` : 'there is no checkpoint yet'}`,
          { cause: error },
        );
      } finally {
        training.release(batch);
      }
      done++;
      await training.onStep(done, batch, lr, metrics);
      const stop = done === steps || signal?.aborted === true;
      if (stop || training.savesAfter(done)) {
        await training.save(done);
        saved = done;
      }
      if (stop) break;
    }
  }
  return done;
}
