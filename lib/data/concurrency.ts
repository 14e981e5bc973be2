import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';

/** Threads of the libuv pool, on which files are read, images decoded and resampled. Fixed at the pool's first use; Node's default is 4. */
export function poolThreads(): number {
  const threads = Number.parseInt(process.env['UV_THREADPOOL_SIZE'] ?? '', 10);
  return threads >= 1 ? Math.min(threads, 1024) : 4;
}

/** Images to have in work at a time: enough for every core that the pool can use, and two that wait, so that no thread does. */
export function defaultConcurrency(): number {
  return Math.min(availableParallelism(), poolThreads()) + 2;
}

/** Calls f(0), f(1), ... f(count - 1), at most `limit` at a time; rejects with the first failure once those under way have ended. */
export async function forEachConcurrently(count: number, limit: number, f: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < count && !failed) {
      try {
        await f(next++);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: Math.min(limit, count) }, worker));
  for (const result of settled) if (result.status === 'rejected') throw result.reason;
}

/**
 * Lets tasks run as long as their weights sum to at most `capacity`, first come, first served: a heavy one that waits is not overtaken. One
 * that is heavier than all of it runs alone.
 */
export class Limiter {
  private used = 0;
  private readonly waiting: { weight: number; begin: () => void }[] = [];

  constructor(private readonly capacity: number) {}

  async run<T>(task: () => Promise<T>, weight = 1): Promise<T> {
    const taken = Math.min(weight, this.capacity);
    const ready = new Promise<void>((begin) => this.waiting.push({ weight: taken, begin }));
    this.admit();
    await ready;
    try {
      return await task();
    } finally {
      this.used -= taken;
      this.admit();
    }
  }

  private admit(): void {
    while (this.waiting.length > 0 && this.used + this.waiting[0]!.weight <= this.capacity) {
      const { weight, begin } = this.waiting.shift()!;
      this.used += weight;
      begin();
    }
  }
}

/**
 * Calls f(from, to) for slice after slice of [0, count), and lets the event loop turn between them: for loops over all pixels of an image,
 * which may take seconds.
 */
export async function inSlices(count: number, size: number, f: (from: number, to: number) => void): Promise<void> {
  for (let from = 0; from < count; from += size) {
    if (from > 0) await setImmediate();
    f(from, Math.min(from + size, count));
  }
}
