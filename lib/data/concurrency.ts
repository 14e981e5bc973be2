import { availableParallelism } from 'node:os';

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

/** A queue of at most `limit` running tasks, first come, first served. */
export class Limiter {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly limit: number) {}

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.running < this.limit) this.running++;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await task();
    } finally {
      // The place goes to the next in line, if any, without becoming free in between.
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }
}
