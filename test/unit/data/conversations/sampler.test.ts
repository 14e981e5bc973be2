import { createHash } from 'node:crypto';

import { expect } from 'chai';

import { UpdateSampler, type UpdateSamplerOptions } from '../../../../lib/data/conversations/sampler.js';
import { permutation } from '../../../../lib/data/images/sampler.js';
import { split } from '../../../../lib/data/split.js';
import { KueaError } from '../../../../lib/errors.js';

const all = (n: number) => Uint32Array.from({ length: n }, (_, i) => i);
const sorted = (list: Iterable<number>) => [...list].sort((a, b) => a - b);

/** 900 samples with an image, 111 without, of 1 to 97 words. */
const lengths = Int32Array.from({ length: 1011 }, (_, i) => (1 + ((i * 31) % 97)) * (i % 9 === 4 ? -1 : 1));

function sampler(changed: Partial<UpdateSamplerOptions> = {}): UpdateSampler {
  return new UpdateSampler({
    members: all(lengths.length),
    lengths,
    batchSize: 2,
    gradAccum: 4,
    ranks: 2,
    seed: 7,
    order: 'modality-length',
    ...changed,
  });
}

describe('UpdateSampler', () => {
  it('counts as the reference does: 5198 updates of 128 for the 665k mix', () => {
    const members = all(665_298);
    const mix = { members, lengths: new Int32Array(members.length).fill(1), order: 'shuffle' } as const;
    expect(sampler({ ...mix, batchSize: 16, gradAccum: 1, ranks: 8 }).updatesPerEpoch).to.equal(5198);
    expect(sampler({ ...mix, batchSize: 1, gradAccum: 32, ranks: 4 }).updatesPerEpoch).to.equal(5198);
  });

  for (const order of ['modality-length', 'shuffle', 'sequential'] as const) {
    it(`${order}: deals every member once an epoch, as a function of the update alone`, () => {
      const members = all(lengths.length).filter((i) => i % 5 !== 2);
      const s = sampler({ members, order });
      const { updatesPerEpoch } = s;
      expect(updatesPerEpoch).to.equal(Math.ceil(members.length / 16));
      const epochs = [0, 1].map((epoch) => Array.from({ length: updatesPerEpoch }, (_, u) => [...s.indices(epoch * updatesPerEpoch + u)]));
      for (const epoch of epochs) {
        expect(sorted(epoch.flat())).to.deep.equal([...members]);
        expect(epoch.slice(0, -1).every((update) => update.length === 16)).to.equal(true);
      }
      if (order === 'sequential') expect(epochs[0]!.flat()).to.deep.equal([...members]);
      else expect(epochs[0]).not.to.deep.equal(epochs[1]);
      // A new sampler, any order of asking.
      for (const update of [updatesPerEpoch + 3, 2, updatesPerEpoch - 1]) {
        expect([...sampler({ members, order }).indices(update)]).to.deep.equal(
          epochs[Math.floor(update / updatesPerEpoch)]![update % updatesPerEpoch],
        );
      }
      if (order !== 'sequential') expect([...sampler({ members, order, seed: 8 }).indices(0)]).not.to.deep.equal(epochs[0]![0]);
      expect([s.epochOf(updatesPerEpoch - 1), s.epochOf(updatesPerEpoch)]).to.deep.equal([0, 1]);
    });
  }

  it('keeps the modalities apart, but for what is left over at the end of an epoch', () => {
    const s = sampler();
    const updates = Array.from({ length: s.updatesPerEpoch }, (_, u) => s.indices(u));
    const texts = (update: Uint32Array) => update.filter((i) => lengths[i]! < 0).length;
    const kinds = updates.map((update) => (texts(update) === 0 ? 'image' : texts(update) === update.length ? 'text' : 'mixed'));
    // 899 images are 56 updates and 3, 112 texts are 7 whole ones, of which the last counts as left over: 16 and 3 in index order.
    expect(texts(Uint32Array.from(all(lengths.length)))).to.equal(112);
    expect(kinds.slice(0, 62).filter((kind) => kind === 'text')).to.have.length(6);
    expect(kinds.slice(0, 62)).not.to.include('mixed');
    expect(kinds.slice(0, 62).indexOf('text')).to.be.below(40);
    const rest = [...updates.slice(62)].flatMap((update) => [...update]);
    expect(rest).to.have.length(19);
    expect(rest).to.deep.equal(sorted(rest));
  });

  it('has the order that 0.1 had', () => {
    // The first 16 digits of the SHA-256 of two epochs, written down from 0.1.
    const hashOf = (changed: Partial<UpdateSamplerOptions>) => {
      const s = sampler(changed);
      const hash = createHash('sha256');
      for (let u = 0; u < 2 * s.updatesPerEpoch; u++) hash.update(s.indices(u)).update(`${s.indices(u).length}`);
      return hash.digest('hex').slice(0, 16);
    };
    const cut = (batchSize: number, gradAccum: number, ranks: number) => ({ batchSize, gradAccum, ranks });
    expect(hashOf({})).to.equal('c3ba0e1c4efe94c1');
    expect(hashOf(cut(3, 5, 1))).to.equal('373edd6285ace144');
    expect(hashOf(cut(1, 1, 1))).to.equal('6f7b24308849cc49');
    expect(hashOf(cut(40, 4, 4))).to.equal('1dfa8851d6d4dfdc');
    expect(hashOf(cut(1, 32, 4))).to.equal('25e2eb25d4370b67');
    expect(hashOf(cut(56, 2, 1))).to.equal('b6e1f0df877c3659');
    expect(hashOf({ members: all(1011).filter((i) => lengths[i]! > 0) })).to.equal('20273a90d0e4764c');
    expect(hashOf({ members: all(1011).filter((i) => lengths[i]! <= 0) })).to.equal('8f9dfdb569e34621');
    expect(hashOf({ order: 'shuffle' })).to.equal('cd171395817d4146');
    expect(hashOf({ order: 'sequential' })).to.equal('ad49a2c2ccd27d90');
  });

  it('deals out one update at a time, so that an epoch does not begin with a second in which nothing else runs', () => {
    let reads = 0;
    const counted = new Proxy(lengths, {
      get(target, key) {
        reads++;
        return Reflect.get(target, key) as unknown;
      },
    });
    sampler({ lengths: counted }).indices(0);
    // Each member's length once for either modality, and those of the update.
    expect(reads).to.be.within(2 * lengths.length, 2.2 * lengths.length);
  });

  it('gives each sample to the first of the shortest micro-batches that are not full', () => {
    // The rule, read aloud: every micro-batch looked at for every sample.
    const dealt = (list: number[], count: number, of: Int32Array) => {
      const chunks = Array.from({ length: count }, () => [] as number[]);
      const sum = (chunk: number[]) => chunk.reduce((total, i) => total + Math.abs(of[i]!), 0);
      for (const i of [...list].sort((a, b) => Math.abs(of[b]!) - Math.abs(of[a]!))) {
        const open = chunks.filter((chunk) => chunk.length < list.length / count);
        open.reduce((a, b) => (sum(b) < sum(a) ? b : a)).push(i);
      }
      return chunks.flat();
    };
    // One modality, so that an update is a stretch of the shuffled members; few lengths, so that many are equal.
    for (const [batchSize, gradAccum, ranks, words] of [
      [2, 4, 2, 97],
      [3, 5, 1, 3],
      [1, 16, 4, 1],
      [7, 1, 3, 11],
    ] as const) {
      const of = Int32Array.from({ length: 700 }, (_, i) => 1 + ((i * 31) % words));
      const s = sampler({ members: all(700), lengths: of, batchSize, gradAccum, ranks });
      for (let u = 0; u < Math.floor(700 / s.perUpdate); u++) {
        const found = [...s.indices(u)];
        // The order within equal lengths is that of the shuffle, which dealing keeps: deal what was dealt, in the order of the shuffle.
        const shuffle = [...permutation(700, 7, 0)].slice(u * s.perUpdate, (u + 1) * s.perUpdate);
        expect(sorted(found)).to.deep.equal(sorted(shuffle));
        expect(found).to.deep.equal(dealt(shuffle, gradAccum * ranks, of));
      }
    }
  });

  it('evens out the lengths of the micro-batches of an update', () => {
    const s = sampler();
    const spread = (of: (update: Uint32Array) => Uint32Array) => {
      let sum = 0;
      for (let u = 0; u < 62; u++) {
        const words = Array.from({ length: 8 }, (_, m) =>
          of(s.indices(u))
            .subarray(2 * m, 2 * m + 2)
            .reduce((n, i) => n + Math.abs(lengths[i]!), 0),
        );
        sum += Math.max(...words) - Math.min(...words);
      }
      return sum / 62;
    };
    expect(spread((update) => update)).to.be.below(0.6 * spread((update) => update.slice().sort()));
  });

  it('fills micro-batches longest first, each into the shortest that has room', () => {
    // 9 8 | 7 6 | 5 | 4 | 3 2 -> {9, 2}, {8, 3}, {7, 4}, {6, 5}: sums of 11 each.
    const words = Int32Array.from([2, 9, 3, 8, 4, 7, 5, 6]);
    const s = sampler({ members: all(8), lengths: words, ranks: 1 });
    const batches = Array.from({ length: 4 }, (_, m) => [...s.indices(0).subarray(2 * m, 2 * m + 2)].map((i) => words[i]!));
    expect(batches).to.deep.equal([
      [9, 2],
      [8, 3],
      [7, 4],
      [6, 5],
    ]);
    // A full micro-batch takes no more, however short it is.
    const uneven = Int32Array.from([1, 1, 1, 1, 1, 1, 1, 50]);
    const u = sampler({ members: all(8), lengths: uneven, ranks: 1 });
    expect(
      Array.from({ length: 4 }, (_, m) => [...u.indices(0).subarray(2 * m, 2 * m + 2)].reduce((n, i) => n + uneven[i]!, 0)),
    ).to.deep.equal([51, 2, 2, 2]);
    // One that does not come out even is dealt in turn.
    const five = sampler({ members: all(5), lengths: words, ranks: 1 });
    expect(Array.from(five.indices(0), (i) => words[i]!)).to.deep.equal([9, 2, 8, 4, 3]);
  });

  it('refuses to deal nothing', () => {
    expect(() => sampler({ members: all(0) }))
      .to.throw(KueaError)
      .with.property('code', 'data_empty');
  });
});

describe('split', () => {
  it('draws a share for validation, the same for a seed', () => {
    const { train, validation } = split(1000, 0.05, 3);
    expect([train.length, validation.length]).to.deep.equal([950, 50]);
    expect(sorted([...train, ...validation])).to.deep.equal([...all(1000)]);
    expect([...validation]).to.deep.equal(sorted(validation));
    expect(split(1000, 0.05, 3)).to.deep.equal({ train, validation });
    expect(split(1000, 0.05, 4).validation).not.to.deep.equal(validation);
    expect(split(5, 0, 1)).to.deep.equal({ train: all(5), validation: all(0) });
  });
});
