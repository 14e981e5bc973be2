import { KueaError } from '../errors.js';

interface Reader<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/**
 * Events pushed by one side and iterated by the other, one reader at a time: a reader that leaves lets the next go on from there. The
 * newest `unread` wait to be read, older ones are dropped; pushing never waits. Ends with `end`, or throws what `fail` was given.
 */
export class EventStream<T> implements AsyncIterable<T> {
  private readonly queue: T[] = [];
  private readonly waiting: Reader<T>[] = [];
  private hasReader = false;
  private over: { error?: unknown } | undefined;

  /** `outdates`: whether a new event makes the unread one before it worthless, whose place it then takes. */
  constructor(
    private readonly unread = Number.POSITIVE_INFINITY,
    private readonly outdates: (newer: T, older: T) => boolean = () => false,
  ) {}

  push(event: T): void {
    if (this.over) return;
    const reader = this.waiting.shift();
    if (reader) return reader.resolve({ value: event, done: false });
    if (this.queue.length > 0 && this.outdates(event, this.queue.at(-1)!)) this.queue.pop();
    if (this.queue.push(event) > this.unread) this.queue.shift();
  }

  end(): void {
    this.finish({});
  }

  fail(error: unknown): void {
    this.finish({ error });
  }

  /** The first end stays. */
  private finish(over: { error?: unknown }): void {
    this.over ??= over;
    for (const reader of this.waiting.splice(0)) this.settle(reader);
  }

  private settle({ resolve, reject }: Reader<T>): void {
    if ('error' in this.over!) reject(this.over.error);
    else resolve({ value: undefined, done: true });
  }

  /** Throws KueaError `events_in_use` while another reader is at it: each event goes to one reader, and the two would share them out. */
  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    // One that has read all, to the end, is in nobody's way.
    if (this.hasReader && !(this.over && this.queue.length === 0))
      throw new KueaError('events_in_use', 'expected one reader of these events at a time, found a second: let the first hand them on');
    this.hasReader = true;
    let left = false;
    return {
      next: () =>
        new Promise((resolve, reject) => {
          if (left) resolve({ value: undefined, done: true });
          else if (this.queue.length > 0) resolve({ value: this.queue.shift()!, done: false });
          else if (this.over) this.settle({ resolve, reject });
          else this.waiting.push({ resolve, reject });
        }),
      return: async () => {
        if (!left) this.hasReader = false;
        left = true;
        for (const { resolve } of this.waiting.splice(0)) resolve({ value: undefined, done: true });
        return { value: undefined, done: true };
      },
    };
  }
}
