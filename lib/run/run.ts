import { EventStream } from './event-stream.js';

/**
 * A run under way: iterate it for its events (unread ones wait), await `result` for its outcome. It proceeds whether or not it is iterated.
 */
export interface Run<Event, Result> extends AsyncIterable<Event> {
  readonly result: Promise<Result>;
}

/** Starts `work`, which reports what happens through `emit`. */
export function startRun<Event, Result>(work: (emit: (event: Event) => void) => Promise<Result>): Run<Event, Result> {
  const events = new EventStream<Event>();
  const result = work((event) => events.push(event));
  result.then(
    () => events.end(),
    (error: unknown) => events.fail(error),
  );
  return { result, [Symbol.asyncIterator]: () => events[Symbol.asyncIterator]() };
}
