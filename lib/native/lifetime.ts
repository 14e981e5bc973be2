import { KueaError } from '../errors.js';

/** How long something native is held: until it is closed, and then until the calls that run on it have ended. */
export class Lifetime {
  private readonly running = new Set<Promise<unknown>>();
  private closing: Promise<void> | undefined;

  /** `what` it is, for people; `free` gives it back. */
  constructor(
    private readonly what: string,
    private readonly free: () => Promise<void>,
  ) {}

  /** Throws KueaError `closed` once close() has been called. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.closing) throw new KueaError('closed', `expected an open ${this.what}, found one that was closed: open it again`);
    const running = call();
    this.running.add(running);
    try {
      return await running;
    } finally {
      this.running.delete(running);
    }
  }

  /** Waits for the calls that run, however they end, then frees. Idempotent. */
  close(): Promise<void> {
    return (this.closing ??= Promise.allSettled(this.running).then(() => this.free()));
  }
}
