/** A queue between two asynchronous parties: `take` waits for what `push` brings, first come, first served, until the channel is closed. */
export class Channel<T> {
  private readonly values: T[] = [];
  private readonly takers: { resolve(value: T): void; reject(reason: unknown): void }[] = [];
  private closed: { reason: unknown } | undefined;

  push(value: T): void {
    const taker = this.takers.shift();
    if (taker) taker.resolve(value);
    else this.values.push(value);
  }

  /** Rejects with the reason once the channel is closed, whatever is left in it. */
  async take(): Promise<T> {
    if (this.closed) throw this.closed.reason;
    if (this.values.length > 0) return this.values.shift()!;
    return new Promise((resolve, reject) => this.takers.push({ resolve, reject }));
  }

  /** The first reason stays. */
  close(reason: unknown): void {
    this.closed ??= { reason };
    for (const { reject } of this.takers.splice(0)) reject(this.closed.reason);
  }
}
