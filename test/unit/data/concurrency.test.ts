import { expect } from 'chai';

import { inSlices, Limiter } from '../../../lib/data/concurrency.js';

/** A task that runs until it is ended. */
function task(log: string[], name: string) {
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const run = async () => {
    log.push(name);
    await ended;
  };
  return { run, end };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('Limiter', () => {
  it('runs what fits, first come, first served: what is heavy is not overtaken', async () => {
    const limiter = new Limiter(10);
    const begun: string[] = [];
    const [a, b, heavy, light] = [task(begun, 'a'), task(begun, 'b'), task(begun, 'heavy'), task(begun, 'light')];
    const all = [limiter.run(a.run, 4), limiter.run(b.run, 4), limiter.run(heavy.run, 8), limiter.run(light.run, 1)];
    await turn();
    expect(begun).to.deep.equal(['a', 'b']);
    a.end();
    await turn();
    expect(begun).to.deep.equal(['a', 'b']);
    b.end();
    await turn();
    expect(begun).to.deep.equal(['a', 'b', 'heavy', 'light']);
    heavy.end();
    light.end();
    await Promise.all(all);
  });

  it('runs what is heavier than all of it alone, and goes on after a failure', async () => {
    const limiter = new Limiter(10);
    const begun: string[] = [];
    const [light, huge, next] = [task(begun, 'light'), task(begun, 'huge'), task(begun, 'next')];
    const failed = limiter.run(async () => {
      await light.run();
      throw new Error('no');
    }, 1);
    const all = [limiter.run(huge.run, 1000), limiter.run(next.run, 1)];
    await turn();
    expect(begun).to.deep.equal(['light']);
    light.end();
    expect(await failed.catch((error: Error) => error.message)).to.equal('no');
    await turn();
    expect(begun).to.deep.equal(['light', 'huge']);
    huge.end();
    await turn();
    expect(begun).to.deep.equal(['light', 'huge', 'next']);
    next.end();
    await Promise.all(all);
  });
});

describe('inSlices', () => {
  it('covers all, once, and lets the event loop turn between slices', async () => {
    const log: unknown[] = [];
    setImmediate(() => log.push('another'));
    await inSlices(25, 10, (from, to) => log.push([from, to]));
    expect(log).to.deep.equal([[0, 10], 'another', [10, 20], [20, 25]]);
  });
});
