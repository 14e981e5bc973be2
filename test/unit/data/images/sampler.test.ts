import { createHash } from 'node:crypto';

import { expect } from 'chai';

import { permutation, Sampler } from '../../../../lib/data/images/sampler.js';
import type { KueaError } from '../../../../lib/errors.js';
import { goldenJson } from './support.js';

const all = (sampler: Sampler, epoch: number) =>
  Array.from({ length: sampler.stepsPerEpoch }, (_, i) => [...sampler.batchIndices(epoch * sampler.stepsPerEpoch + i)]).flat();
const ascending = (values: number[]) => [...values].sort((a, b) => a - b);

describe('permutation', () => {
  it('equals an implementation of its own in Python, for ever', async () => {
    const rows = await goldenJson<{ n: number; seed: number; epoch: number; first: number[]; sha256: string }[]>(
      'sampler',
      'permutations.json',
    );
    for (const { n, seed, epoch, first, sha256 } of rows) {
      const order = permutation(n, seed, epoch);
      expect([...order.subarray(0, 12)]).to.deep.equal(first);
      expect(createHash('sha256').update(Buffer.from(order.buffer)).digest('hex')).to.equal(sha256);
    }
  });

  it('puts every image in every place about equally often', () => {
    const counts = Array.from({ length: 8 }, () => new Array<number>(8).fill(0));
    for (let epoch = 0; epoch < 4000; epoch++) permutation(8, 5, epoch).forEach((image, place) => counts[place]![image]!++);
    // Binomial(4000, 1/8): mean 500, standard deviation 21.
    for (const row of counts) for (const count of row) expect(count).to.be.within(400, 600);
  });
});

describe('Sampler', () => {
  it('deals every image once an epoch, in another order each epoch', () => {
    const sampler = new Sampler({ length: 12, batchSize: 4, seed: 3, shuffle: true });
    expect(ascending(all(sampler, 0))).to.deep.equal([...Array(12).keys()]);
    expect(ascending(all(sampler, 1))).to.deep.equal([...Array(12).keys()]);
    expect(all(sampler, 0)).to.not.deep.equal(all(sampler, 1));
  });

  it('deals each batch to the ranks without overlap or loss, and the same batches to any number of them', () => {
    const options = { length: 53, batchSize: 7, seed: 4, shuffle: true, dropLast: false };
    const whole = new Sampler(options);
    for (const worldSize of [1, 2, 3, 7]) {
      const ranks = Array.from({ length: worldSize }, (_, rank) => new Sampler({ ...options, rank, worldSize }));
      expect(ranks.map(({ rankBatchSize }) => rankBatchSize)).to.deep.equal(
        Array.from({ length: worldSize }, (_, rank) => Math.floor(7 / worldSize) + (rank < 7 % worldSize ? 1 : 0)),
      );
      // The last one of the epoch has 4 images, fewer than 7 ranks.
      for (let step = 0; step < 2 * whole.stepsPerEpoch; step++) {
        expect(
          ranks.flatMap((sampler) => [...sampler.batchIndices(step)]),
          `step ${step}, ${worldSize} ranks`,
        ).to.deep.equal([...whole.batchIndices(step)]);
      }
    }
  });

  it('is a function of the step alone: resuming gives the same batches', () => {
    const options = { length: 50, batchSize: 8, seed: 9, shuffle: true };
    const whole = new Sampler(options);
    const batches = Array.from({ length: 20 }, (_, step) => whole.batchIndices(step));
    const resumed = new Sampler(options);
    expect([resumed.batchIndices(13), resumed.batchIndices(2), resumed.batchIndices(19)]).to.deep.equal([
      batches[13],
      batches[2],
      batches[19],
    ]);
    expect(whole.epochOf(11)).to.equal(1);
  });

  it('drops an incomplete last batch, or deals it small', () => {
    const options = { length: 10, batchSize: 4, seed: 0, shuffle: true };
    expect(new Sampler(options).stepsPerEpoch).to.equal(2);
    const kept = new Sampler({ ...options, dropLast: false });
    expect(kept.stepsPerEpoch).to.equal(3);
    expect(kept.batchIndices(2)).to.have.length(2);
    expect(ascending(all(kept, 0))).to.deep.equal([...Array(10).keys()]);
    expect(kept.batchIndices(3)).to.have.length(4);
  });

  it('keeps the order as given without shuffling', () => {
    const sampler = new Sampler({ length: 6, batchSize: 3, seed: 1, shuffle: false });
    expect(all(sampler, 0)).to.deep.equal([0, 1, 2, 3, 4, 5]);
    expect(all(sampler, 7)).to.deep.equal([0, 1, 2, 3, 4, 5]);
  });

  it('draws one subset for all epochs with a fraction', () => {
    const sampler = new Sampler({ length: 40, batchSize: 5, seed: 1, shuffle: true, fraction: 0.25 });
    expect(sampler.images).to.equal(10);
    const first = ascending(all(sampler, 0));
    expect(new Set(first).size).to.equal(10);
    expect(ascending(all(sampler, 5))).to.deep.equal(first);
    expect(all(new Sampler({ length: 40, batchSize: 5, seed: 1, shuffle: false, fraction: 0.25 }), 0)).to.deep.equal(first);
    expect(ascending(all(new Sampler({ length: 40, batchSize: 5, seed: 2, shuffle: true, fraction: 0.25 }), 0))).to.not.deep.equal(first);
  });

  it('refuses what cannot fill a batch, and options out of range', () => {
    const options = { length: 10, batchSize: 4, seed: 0, shuffle: true };
    const code = (changed: object) => {
      try {
        new Sampler({ ...options, ...changed });
      } catch (error) {
        return (error as KueaError).code;
      }
      return undefined;
    };
    expect(code({ batchSize: 11 })).to.equal('too_few_images');
    expect(code({ fraction: 0.1 })).to.equal('too_few_images');
    expect(code({ fraction: 0 })).to.equal('bad_option');
    expect(code({ fraction: 1.5 })).to.equal('bad_option');
    expect(code({ seed: -1 })).to.equal('bad_option');
    expect(code({ seed: 0.5 })).to.equal('bad_option');
  });
});
