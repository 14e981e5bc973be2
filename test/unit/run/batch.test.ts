import { expect } from 'chai';

import { cutBatch, shareBatch } from '../../../lib/run/batch.js';

describe('the cut of a batch', () => {
  const recipe = { microBatch: 1, gradAccum: 32 };
  const cut = (given: Parameters<typeof cutBatch>[0], ranks: number) => {
    const { batchSize, microBatch, gradAccum } = cutBatch(given, ranks, recipe);
    return [batchSize, microBatch, gradAccum];
  };

  it('has its third number from any two and the ranks', () => {
    expect(cut({ batchSize: 128, microBatch: 1 }, 4)).to.deep.equal([128, 1, 32]);
    expect(cut({ batchSize: 128, gradAccum: 32 }, 4)).to.deep.equal([128, 1, 32]);
    expect(cut({ microBatch: 1, gradAccum: 32 }, 4)).to.deep.equal([128, 1, 32]);
    expect(cut({ batchSize: 128, microBatch: 1, gradAccum: 32 }, 4)).to.deep.equal([128, 1, 32]);
    expect(cut({ batchSize: 128, microBatch: 16 }, 8)).to.deep.equal([128, 16, 1]);
  });

  it('is completed by the recipe', () => {
    expect(cut({}, 1)).to.deep.equal([32, 1, 32]);
    expect(cut({}, 4)).to.deep.equal([128, 1, 32]);
    expect(cut({ microBatch: 2 }, 1)).to.deep.equal([64, 2, 32]);
    expect(cut({ gradAccum: 8 }, 2)).to.deep.equal([16, 1, 8]);
    expect(cut({ batchSize: 128 }, 4)).to.deep.equal([128, 1, 32]);
  });

  it('is refused, saying why, when the three do not fit', () => {
    const bad = (given: Parameters<typeof cutBatch>[0], ranks: number) => () => cutBatch(given, ranks, recipe);
    expect(bad({ batchSize: 128, microBatch: 1, gradAccum: 32 }, 2)).to.throw(
      'expected batchSize = microBatch x gradAccum x ranks, found 128 and 1 x 32 x 2 = 64: leave one of the three out',
    );
    expect(bad({ batchSize: 100, microBatch: 3 }, 1)).to.throw('expected a batchSize that microBatch 3 x 1 rank = 3 divides, found 100');
    expect(bad({ batchSize: 100, gradAccum: 32 }, 4)).to.throw('expected a batchSize that gradAccum 32 x 4 ranks = 128 divides, found 100');
    expect(() => cutBatch({ batchSize: 3 }, 2, recipe, (key) => `--${key}`)).to.throw(/a --batchSize that --microBatch 1 x 2 ranks/);
  });
});

describe("the share of a batch's images", () => {
  const share = (given: Parameters<typeof shareBatch>[0], ranks: number) => {
    const { batchSize, microBatch, gradAccum } = shareBatch(given, ranks, 64);
    return [batchSize, microBatch, gradAccum];
  };

  it('is dealt to the ranks, and gone through in micro-batches', () => {
    expect(share({}, 1)).to.deep.equal([64, 64, 1]);
    expect(share({}, 4)).to.deep.equal([64, 16, 1]);
    expect(share({ batchSize: 7 }, 2)).to.deep.equal([7, 4, 1]);
    expect(share({ batchSize: 7, microBatch: 2 }, 2)).to.deep.equal([7, 2, 2]);
    expect(share({ batchSize: 7, microBatch: 7 }, 2)).to.deep.equal([7, 4, 1]);
    expect(share({ batchSize: 100, gradAccum: 3 }, 1)).to.deep.equal([100, 34, 3]);
    expect(share({ microBatch: 8, gradAccum: 4 }, 2)).to.deep.equal([64, 8, 4]);
    expect(share({ batchSize: 64, microBatch: 8, gradAccum: 4 }, 2)).to.deep.equal([64, 8, 4]);
  });

  it('is refused, saying why, when the numbers do not fit', () => {
    expect(() => shareBatch({ batchSize: 8, microBatch: 9 }, 1, 64)).to.throw('expected a microBatch of at most batchSize, 8, found 9');
    expect(() => shareBatch({ batchSize: 64, microBatch: 8, gradAccum: 3 }, 2, 64)).to.throw(
      "expected gradAccum 4, since a rank's 32 of 64 images make 4 micro-batches of 8, found 3: leave it out",
    );
  });
});
