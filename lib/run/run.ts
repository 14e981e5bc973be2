import { EventStream } from './event-stream.js';

/** Unread events that a run keeps: a service that never reads them must not fill its memory in a run of weeks. */
const unreadEvents = 10_000;

/**
 * A run under way: iterate it for its events, await `result` for its outcome. It proceeds whether or not it is iterated; the newest 10 000
 * unread events wait, of ticks in a row the last. One loop reads at a time: a second throws KueaError `events_in_use` until the first has
 * been left.
 */
export interface Run<Event, Result> extends AsyncIterable<Event> {
  readonly result: Promise<Result>;
}

/** Starts `work`, which reports what happens through `emit`. */
export function startRun<Event extends { type: string }, Result>(
  work: (emit: (event: Event) => void) => Promise<Result>,
): Run<Event, Result> {
  const events = new EventStream<Event>(unreadEvents, (newer, older) => newer.type === 'tick' && older.type === 'tick');
  const result = work((event) => events.push(event));
  result.then(
    () => events.end(),
    (error: unknown) => events.fail(error),
  );
  return { result, [Symbol.asyncIterator]: () => events[Symbol.asyncIterator]() };
}
