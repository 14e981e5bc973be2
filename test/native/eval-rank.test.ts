import { expect } from 'chai';

import { generator } from '../../lib/data/random.js';
import { classificationMetrics, retrievalMetrics, retrievalRanks } from '../../lib/eval/metrics.js';
import { classify, type Embeddings, topK, topKBothWays } from '../../lib/eval/rank.js';
import { loadAddon } from '../../lib/native/load.js';
import { failure, goldenJson } from '../unit/data/images/support.js';
import { type ClassificationCase, embeddings, type RetrievalCase, ranked } from '../unit/eval/support.js';

function drawn(rows: number, width: number, seed: number): Embeddings {
  const next = generator(seed, 0);
  return { data: Float32Array.from({ length: rows * width }, () => next() / 2 ** 31 - 1), width };
}

/** Cosines in float64. */
function cosines(a: Embeddings, b: Embeddings): number[][] {
  const unit = ({ data, width }: Embeddings) =>
    Array.from({ length: data.length / width }, (_, i) => {
      const row = data.subarray(i * width, (i + 1) * width);
      const norm = Math.hypot(...row);
      return Array.from(row, (value) => value / norm);
    });
  const others = unit(b);
  return unit(a).map((x) => others.map((y) => x.reduce((sum, value, i) => sum + value * y[i]!, 0)));
}

/** `copies` rows, all the same. */
function repeated({ data, width }: Embeddings, copies: number): Embeddings {
  const out = new Float32Array(copies * width);
  for (let i = 0; i < copies; i++) out.set(data.subarray(0, width), i * width);
  return { data: out, width };
}

describe('topK', () => {
  for (const [n, m, width, k] of [
    [300, 2100, 33, 4],
    [257, 65, 16, 10],
    [3, 5, 8, 7],
    [1, 1, 1, 1],
  ] as const) {
    it(`${n} queries, ${m} to choose from: equals a sort of float64 cosines, both ways`, async () => {
      const [a, b] = [drawn(n, width, 1), drawn(m, width, 2)];
      const scores = cosines(a, b);
      const transposed = Array.from({ length: m }, (_, j) => scores.map((row) => row[j]!));
      const found = await topKBothWays(a, b, k);
      for (const [ranking, expected] of [
        [found[0], ranked(scores, k)],
        [found[1], ranked(transposed, k)],
      ] as const) {
        expect(ranking.k).to.equal(expected.k);
        expect(ranking.indices).to.deep.equal(expected.indices);
        for (const [i, score] of ranking.scores.entries()) expect(score).to.be.closeTo(expected.scores[i]!, 1e-6);
      }
      expect(await topK(a, b, k)).to.deep.equal(found[0]);
    });
  }

  it('takes the first of equal rows, however many there are', async () => {
    for (const [n, m, width] of [
      [7, 4200, 48],
      [300, 10, 512],
      [1, 65, 768],
    ] as const) {
      const { k, indices } = await topK(drawn(n, width, 3), repeated(drawn(1, width, 4), m), 5);
      for (const [i, index] of indices.entries()) expect(index).to.equal(i % k);
      const [, ofRows] = await topKBothWays(repeated(drawn(1, width, 5), n), drawn(m, width, 6), 1);
      expect(new Set(ofRows.indices)).to.deep.equal(new Set([0]));
    }
  });

  it('gives a query the same numbers alone, among others and with one thread', async () => {
    const [queries, gallery] = [drawn(600, 512, 7), drawn(2500, 512, 8)];
    const all = await topK(queries, gallery, 5);
    for (const i of [0, 255, 256, 599]) {
      const alone = await topK({ data: queries.data.slice(i * 512, (i + 1) * 512), width: 512 }, gallery, 5);
      expect(alone.scores).to.deep.equal(all.scores.subarray(i * 5, i * 5 + 5));
    }
    const addon = loadAddon();
    const { threads } = addon.info();
    await addon.setThreads(1);
    try {
      expect(await topK(queries, gallery, 5)).to.deep.equal(all);
    } finally {
      await addon.setThreads(threads);
    }
  });

  it('scores a row of zeros 0', async () => {
    expect((await topK({ data: new Float32Array(4), width: 4 }, drawn(3, 4, 9), 3)).scores).to.deep.equal(new Float32Array(3));
  });

  it('names the row that is not finite', async () => {
    for (const value of [NaN, Infinity, -Infinity]) {
      const [queries, gallery] = [drawn(600, 16, 10), drawn(90, 16, 11)];
      gallery.data[16 * 70 + 3] = value;
      const error = await failure(topK(queries, gallery, 5));
      expect(error.code).to.equal('non_finite');
      expect(error.message).to.include('in the gallery, found NaN or infinity in row 70');
      queries.data[16 * 599] = value;
      expect((await failure(topK(queries, gallery, 5))).message).to.include('in the queries, found NaN or infinity in row 599');
    }
  });

  it('refuses rows of unequal width, none, and no k', async () => {
    expect(await failure(topK(drawn(2, 4, 1), drawn(2, 5, 1), 1))).to.include({ code: 'bad_embeddings' });
    expect(await failure(topK({ data: new Float32Array(0), width: 4 }, drawn(2, 4, 1), 1))).to.include({ code: 'bad_embeddings' });
    expect(await failure(topK(drawn(2, 4, 1), drawn(2, 4, 1), 0))).to.include({ code: 'bad_option' });
  });
});

describe('classify', () => {
  it('scales, adds the bias and leaves the classifier as it is', async () => {
    const features = embeddings([[3, 4]]);
    const weight = embeddings([[1, 0], [0, 2], [0, 0]]); // biome-ignore format: a matrix
    const plain = await classify(features, { weight, scale: 100 });
    expect(plain.k).to.equal(3);
    expect(plain.indices).to.deep.equal(Int32Array.of(1, 0, 2));
    for (const [i, logit] of [160, 60, 0].entries()) expect(plain.scores[i]).to.be.closeTo(logit, 1e-4);
    const biased = await classify(features, { weight, bias: Float32Array.of(5, 0, 2), scale: 2 });
    expect(biased.indices).to.deep.equal(Int32Array.of(0, 1, 2));
    for (const [i, logit] of [6.2, 3.2, 2].entries()) expect(biased.scores[i]).to.be.closeTo(logit, 1e-6);
  });

  it('has the same results for pieces as for the whole', async () => {
    const [features, weight] = [drawn(700, 64, 1), drawn(30, 64, 2)];
    const whole = await classify(features, { weight });
    const pieces = await Promise.all(
      [0, 100, 690].map((from, i, all) =>
        classify({ data: features.data.slice(from * 64, (all[i + 1] ?? 700) * 64), width: 64 }, { weight }),
      ),
    );
    expect(pieces.flatMap(({ scores }) => [...scores])).to.deep.equal([...whole.scores]);
    expect(pieces.flatMap(({ indices }) => [...indices])).to.deep.equal([...whole.indices]);
  });

  it('leads to the accuracies of scikit-learn', async () => {
    // The score is the cosine's numerator: a feature along one axis picks out its class's column.
    for (const { name, scores, labels, acc1, acc5 } of await goldenJson<ClassificationCase[]>('eval', 'classification.json')) {
      const classes = scores[0]!.length;
      const axes = embeddings(scores.map((_, i) => scores.map((__, j) => (i === j ? 1 : 0))));
      const columns = embeddings(Array.from({ length: classes }, (_, c) => scores.map((row) => row[c]!)));
      const metrics = classificationMetrics(await classify(axes, { weight: columns }), Int32Array.from(labels), classes);
      expect(metrics.acc1, name).to.be.closeTo(acc1, 1e-15);
      if (acc5 !== null) expect(metrics.acc5, name).to.be.closeTo(acc5, 1e-15);
    }
  });
});

describe('topKBothWays', () => {
  it("leads to CLIP_benchmark's retrieval metrics", async () => {
    for (const { name, images, texts, owners, ks, metrics } of await goldenJson<RetrievalCase[]>('eval', 'retrieval.json')) {
      const [ofTexts, ofImages] = await topKBothWays(embeddings(texts), embeddings(images), Math.max(...ks));
      const found = retrievalMetrics(retrievalRanks(ofTexts, ofImages, Int32Array.from(owners)), ks);
      for (const [key, value] of Object.entries(metrics)) expect(found[key], `${name}, ${key}`).to.be.closeTo(value, 1e-15);
    }
  });
});
