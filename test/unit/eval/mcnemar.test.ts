import { expect } from 'chai';

import { compareHits, mcnemar } from '../../../lib/eval/mcnemar.js';
import { goldenJson } from '../data/images/support.js';

const cases = await goldenJson<{ only_a: number; only_b: number; p: number }[]>('eval', 'mcnemar.json');

describe("McNemar's exact test", () => {
  for (const { only_a, only_b, p } of cases) {
    it(`${only_a} against ${only_b}: equals scipy's`, () => {
      expect(mcnemar(only_a, only_b)).to.be.closeTo(p, 1e-9 * p);
      expect(mcnemar(only_b, only_a)).to.equal(mcnemar(only_a, only_b));
    });
  }

  it('is 2^(1 - n) where one has all of n, and keeps its digits where there are few', () => {
    for (const n of [1, 2, 10, 16, 100, 1000]) expect(mcnemar(0, n)).to.equal(2 ** (1 - n));
    expect(mcnemar(1, 9)).to.be.closeTo((2 * (1 + 10)) / 2 ** 10, 1e-17);
  });

  it('sums to one over all splits', () => {
    for (const n of [9, 33, 501, 4001]) {
      // Of an odd n, p of the splits (k, n - k) and (k - 1, n - k + 1) differ by twice the chance of k.
      let sum = 0;
      for (let k = 0; 2 * k < n; k++) sum += mcnemar(k, n - k) - (k > 0 ? mcnemar(k - 1, n - k + 1) : 0);
      expect(sum).to.be.closeTo(1, 1e-12);
    }
  });

  it('counts the images that only one has right', () => {
    expect(compareHits(Uint8Array.of(1, 1, 0, 0, 1), Uint8Array.of(1, 0, 1, 0, 0))).to.deep.equal({ onlyA: 2, onlyB: 1, p: 1 });
  });
});
