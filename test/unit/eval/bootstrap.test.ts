import { expect } from 'chai';

import { generator } from '../../../lib/data/random.js';
import { accuracy, imageRetrieval, pairedBootstrap, perClassRecall, quantile, textRetrieval } from '../../../lib/eval/bootstrap.js';
import { meanPerClassRecall } from '../../../lib/eval/metrics.js';
import { failure } from '../data/images/support.js';

function uniforms(seed: number): () => number {
  const next = generator(seed, 0);
  return () => next() / 2 ** 32;
}

/** n images; the first encoder is right with probability p, the second where the first is with probability stays, else with q. */
function predictions(n: number, seed: number, p: number, stays: number, q: number): [Uint8Array, Uint8Array] {
  const uniform = uniforms(seed);
  const a = new Uint8Array(n);
  const b = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    a[i] = uniform() < p ? 1 : 0;
    b[i] = uniform() < (a[i] ? stays : q) ? 1 : 0;
  }
  return [a, b];
}

describe('quantile', () => {
  it("is numpy's", () => {
    expect([0, 0.25, 0.5, 0.75, 1].map((q) => quantile([1, 2, 4, 8], q))).to.deep.equal([1, 1.75, 3, 5, 8]);
    expect(quantile([5], 0.3)).to.equal(5);
  });
});

describe('the paired bootstrap', () => {
  it('has the standard error of paired differences', async () => {
    const [a, b] = predictions(2000, 1, 0.7, 0.9, 0.3);
    const [interval] = await pairedBootstrap([accuracy(a)], [accuracy(b)], { resamples: 4000 });
    const differences = Array.from(a, (hit, i) => hit - b[i]!);
    const mean = differences.reduce((x, y) => x + y) / 2000;
    const error = Math.sqrt(differences.reduce((sum, d) => sum + (d - mean) ** 2, 0)) / 2000;
    expect(interval!.estimate).to.be.closeTo(mean, 1e-12);
    expect((interval!.high - interval!.low) / (2 * 1.96 * error)).to.be.within(0.95, 1.05);
    // Unpaired it would be wider by a third and more.
    expect((interval!.high + interval!.low) / 2).to.be.closeTo(mean, 0.2 * error);
  });

  it('is the same for the same seed, and another for another', async () => {
    const [a, b] = predictions(300, 2, 0.6, 0.8, 0.4);
    const run = (seed: number) => pairedBootstrap([accuracy(a)], [accuracy(b)], { resamples: 200, seed });
    expect(await run(3)).to.deep.equal(await run(3));
    expect(await run(3)).to.not.deep.equal(await run(4));
  });

  it('holds the truth in 93 to 97 of 100 draws', async () => {
    let held = 0;
    const draws = 400;
    const truth = 0.6 - (0.6 * 0.85 + 0.4 * 0.2);
    for (let draw = 0; draw < draws; draw++) {
      const [a, b] = predictions(250, 1000 + draw, 0.6, 0.85, 0.2);
      const [{ low, high }] = (await pairedBootstrap([accuracy(a)], [accuracy(b)], { resamples: 500, seed: draw })) as [never];
      if (low <= truth && truth <= high) held++;
    }
    expect(held / draws).to.be.within(0.93, 0.97);
  });

  it("takes a class's images as what its recall is of", async () => {
    const labels = Int32Array.from({ length: 200 }, (_, i) => (i < 190 ? 0 : 3));
    const [a, b] = predictions(200, 5, 0.8, 0.7, 0.5);
    const [interval] = await pairedBootstrap([perClassRecall(labels, a)], [perClassRecall(labels, b)], { resamples: 2000 });
    expect(interval!.estimate).to.be.closeTo(meanPerClassRecall(a, labels) - meanPerClassRecall(b, labels), 1e-12);
    // Ten images make half of the metric: far wider than the accuracy's.
    const [accuracies] = await pairedBootstrap([accuracy(a)], [accuracy(b)], { resamples: 2000 });
    expect(interval!.high - interval!.low).to.be.greaterThan(2 * (accuracies!.high - accuracies!.low));
  });

  it('draws captions with their image', async () => {
    // Five captions an image, all right or all wrong: fifty independent things, not two hundred and fifty.
    const owners = Int32Array.from({ length: 250 }, (_, i) => Math.floor(i / 5));
    const [hits] = predictions(50, 6, 0.5, 1, 0);
    const right = { ofCaptions: owners.map((image) => (hits[image] ? 0 : 7)), ofImages: Int32Array.from(hits, (hit) => (hit ? 0 : -1)) };
    const wrong = { ofCaptions: owners.map(() => -1), ofImages: new Int32Array(50).fill(-1) };
    const [captions, images] = await pairedBootstrap(
      [imageRetrieval(right, owners, 5), textRetrieval(right, 5)],
      [imageRetrieval(wrong, owners, 5), textRetrieval(wrong, 5)],
      { resamples: 500 },
    );
    for (const key of ['estimate', 'low', 'high'] as const) expect(captions![key]).to.be.closeTo(images![key], 1e-12);
    expect(captions!.high - captions!.low).to.be.greaterThan(0.2);
  });

  it('weighs images by their captions', async () => {
    const owners = Int32Array.of(0, 0, 0, 1);
    const ranks = { ofCaptions: Int32Array.of(0, 0, 9, -1), ofImages: Int32Array.of(0, -1) };
    const nothing = { ofCaptions: new Int32Array(4).fill(-1), ofImages: new Int32Array(2).fill(-1) };
    const of = (measure: typeof ranks) => [imageRetrieval(measure, owners, 1), textRetrieval(measure, 1)];
    const [captions, images] = await pairedBootstrap(of(ranks), of(nothing), { resamples: 10 });
    expect([captions!.estimate, images!.estimate]).to.deep.equal([0.5, 0.5]);
    expect(
      (await pairedBootstrap([imageRetrieval(ranks, owners, 10)], [imageRetrieval(nothing, owners, 10)], { resamples: 10 }))[0]!.estimate,
    ).to.equal(0.75);
  });

  it('draws seeds too, where there are several', async () => {
    // Seeds that differ much on images that do not.
    const n = 400;
    const seeds = [0.5, 0.6, 0.7, 0.8].map((p) => Uint8Array.from({ length: n }, (_, i) => (i < p * n ? 1 : 0)));
    const none = seeds.map(() => new Uint8Array(n));
    const [several] = await pairedBootstrap([accuracy(...seeds)], [accuracy(...none)], { resamples: 2000 });
    const [one] = await pairedBootstrap([accuracy(seeds[1]!)], [accuracy(none[1]!)], { resamples: 2000 });
    expect(several!.estimate).to.be.closeTo(0.65, 1e-12);
    expect(one!.estimate).to.be.closeTo(0.6, 1e-12);
    expect(several!.high - several!.low).to.be.greaterThan(1.5 * (one!.high - one!.low));
  });

  it('refuses what is not paired, and nothing', async () => {
    const measure = (n: number) => [accuracy(new Uint8Array(n))];
    expect(await failure(pairedBootstrap(measure(3), measure(4)))).to.include({ code: 'unpaired' });
    expect(await failure(pairedBootstrap(measure(3), [accuracy(new Uint8Array(3), new Uint8Array(3))]))).to.include({ code: 'unpaired' });
    expect(await failure(pairedBootstrap(measure(0), measure(0)))).to.include({ code: 'no_samples' });
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const running = pairedBootstrap([accuracy(new Uint8Array(50_000))], [accuracy(new Uint8Array(50_000))], { signal: controller.signal });
    controller.abort(new Error('enough'));
    expect(await running.catch((error: Error) => error.message)).to.equal('enough');
  });
});
