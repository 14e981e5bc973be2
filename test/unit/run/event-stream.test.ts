import { expect } from 'chai';

import { KueaError } from '../../../lib/errors.js';
import { EventStream } from '../../../lib/run/event-stream.js';
import { startRun } from '../../../lib/run/run.js';

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const read: T[] = [];
  for await (const event of events) read.push(event);
  return read;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('EventStream', () => {
  it('gives what was pushed before and after it was asked for, in order, and ends', async () => {
    const events = new EventStream<number>();
    events.push(1);
    events.push(2);
    const read = all(events);
    await turn();
    events.push(3);
    await turn();
    events.push(4);
    events.end();
    expect(await read).to.deep.equal([1, 2, 3, 4]);
    expect(await all(events)).to.deep.equal([]);
  });

  it('throws what it failed with after the last event, also undefined', async () => {
    for (const reason of [new Error('no'), undefined]) {
      const events = new EventStream<number>();
      events.push(1);
      events.fail(reason);
      events.fail(new Error('later'));
      events.push(2);
      const read: number[] = [];
      const error = await (async () => {
        for await (const event of events) read.push(event);
        return 'ended';
      })().catch((e: unknown) => ({ e }));
      expect(error).to.deep.equal({ e: reason });
      expect(read).to.deep.equal([1]);
    }
  });

  it('refuses a second reader while there is one, and lets the next go on where the first left', async () => {
    const events = new EventStream<number>();
    for (let i = 0; i < 4; i++) events.push(i);
    for await (const event of events) {
      expect(() => events[Symbol.asyncIterator]())
        .to.throw(KueaError)
        .with.property('code', 'events_in_use');
      if (event === 1) break;
    }
    events.end();
    expect(await all(events)).to.deep.equal([2, 3]);
  });

  it('answers a reader that leaves while it waits, and gives it nothing more', async () => {
    const events = new EventStream<number>();
    const reader = events[Symbol.asyncIterator]();
    const waiting = [reader.next(), reader.next()];
    await reader.return!();
    expect(await Promise.all(waiting)).to.deep.equal([
      { value: undefined, done: true },
      { value: undefined, done: true },
    ]);
    events.push(1);
    expect(await reader.next()).to.deep.equal({ value: undefined, done: true });
    const next = events[Symbol.asyncIterator]();
    // One that has left once leaves nothing when it leaves again.
    await reader.return!();
    expect(() => events[Symbol.asyncIterator]()).to.throw(KueaError);
    expect(await next.next()).to.deep.equal({ value: 1, done: false });
  });

  it('keeps the newest of the unread', async () => {
    const events = new EventStream<number>(3);
    for (let i = 0; i < 10; i++) events.push(i);
    events.end();
    expect(await all(events)).to.deep.equal([7, 8, 9]);
  });
});

describe('a run', () => {
  const numbered = (step: number, type = 'step') => ({ type, step });

  it('goes on whether or not its events are read, and keeps the newest 10 000', async () => {
    const run = startRun<ReturnType<typeof numbered>, string>(async (emit) => {
      for (let i = 0; i < 25_000; i++) emit(numbered(i));
      return 'done';
    });
    expect(await run.result).to.equal('done');
    const read = await all(run);
    expect([read.length, read[0]!.step, read.at(-1)!.step]).to.deep.equal([10_000, 15_000, 24_999]);
  });

  it('keeps one tick of those that nobody has read, and all other events', async () => {
    const run = startRun<ReturnType<typeof numbered>, void>(async (emit) => {
      emit(numbered(0, 'start'));
      for (let i = 1; i <= 30_000; i++) {
        emit(numbered(i, 'tick'));
        if (i % 10_000 === 0) emit(numbered(i));
      }
    });
    await run.result;
    expect((await all(run)).map(({ type, step }) => `${type} ${step}`)).to.deep.equal([
      'start 0',
      ...[10_000, 20_000, 30_000].flatMap((i) => [`tick ${i}`, `step ${i}`]),
    ]);
  });

  it('has one loop over its events at a time', async () => {
    let finish!: () => void;
    const run = startRun<ReturnType<typeof numbered>, void>(async (emit) => {
      emit(numbered(1));
      await new Promise<void>((resolve) => (finish = resolve));
    });
    const first = all(run);
    const second = await all(run).catch((error: unknown) => error);
    expect(second).to.be.instanceOf(KueaError).with.property('code', 'events_in_use');
    finish();
    expect(await first).to.deep.equal([numbered(1)]);
  });

  it('that fails throws from its loop, too', async () => {
    const run = startRun<ReturnType<typeof numbered>, void>(async (emit) => {
      emit(numbered(1));
      throw new KueaError('disk_full', 'no');
    });
    expect(await run.result.catch((error: KueaError) => error.code)).to.equal('disk_full');
    expect(await all(run).catch((error: KueaError) => error.code)).to.equal('disk_full');
  });
});
