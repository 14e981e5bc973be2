import { expect } from 'chai';

import { classificationMetrics, probeMetrics, retrievalMetrics, retrievalRanks } from '../../../lib/eval/metrics.js';
import { goldenJson } from '../data/images/support.js';
import { type ClassificationCase, type RetrievalCase, ranked } from './support.js';

const classification = await goldenJson<ClassificationCase[]>('eval', 'classification.json');
const retrieval = await goldenJson<RetrievalCase[]>('eval', 'retrieval.json');

describe('accuracies', () => {
  for (const { name, scores, labels, ...expected } of classification) {
    it(`${name}: equal scikit-learn's`, () => {
      const metrics = classificationMetrics(ranked(scores, 5), Int32Array.from(labels), scores[0]!.length);
      expect(metrics.acc5 === null).to.equal(expected.acc5 === null);
      for (const key of ['acc1', 'acc5', 'mean_per_class_recall'] as const)
        if (expected[key] !== null) expect(metrics[key], key).to.be.closeTo(expected[key], 1e-15);
    });
  }

  it('have their own names for probes', () => {
    const { scores, labels } = classification[0]!;
    const [top, truth] = [ranked(scores, 5), Int32Array.from(labels)];
    const { acc1, acc5, mean_per_class_recall } = classificationMetrics(top, truth, 8);
    const expected = { lp_acc1: acc1, lp_acc5: acc5, lp_mean_per_class_recall: mean_per_class_recall };
    expect(probeMetrics(top, truth, 8)).to.deep.equal(expected);
  });

  it('of no images, or of a label that is no class, are an error', () => {
    const none = { k: 5, indices: new Int32Array(0), scores: new Float32Array(0) };
    expect(() => classificationMetrics(none, new Int32Array(0), 5))
      .to.throw('expected at least one image')
      .with.property('code', 'no_samples');
    const two = ranked([[1, 0], [0, 1]], 5); // biome-ignore format: a matrix
    for (const label of [2, -1]) {
      expect(() => classificationMetrics(two, Int32Array.of(0, label), 2))
        .to.throw(`found ${label} for image 1`)
        .with.property('code', 'bad_label');
    }
    expect(() => classificationMetrics(two, Int32Array.of(0), 2))
      .to.throw('found 1 labels')
      .with.property('code', 'bad_label');
  });
});

describe('retrieval metrics', () => {
  const cosines = (a: number[][], b: number[][]) => {
    const unit = (row: number[]) => row.map((value) => value / Math.hypot(...row));
    const others = b.map(unit);
    return a.map(unit).map((x) => others.map((y) => x.reduce((sum, value, i) => sum + value * y[i]!, 0)));
  };

  for (const { name, images, texts, owners, ks, metrics } of retrieval) {
    it(`${name}: equal CLIP_benchmark's definition`, () => {
      const most = Math.max(...ks);
      const ranks = retrievalRanks(ranked(cosines(texts, images), most), ranked(cosines(images, texts), most), Int32Array.from(owners));
      const found = retrievalMetrics(ranks, ks);
      expect(Object.keys(found)).to.have.members(Object.keys(metrics));
      for (const [key, value] of Object.entries(metrics)) expect(found[key], key).to.be.closeTo(value, 1e-15);
    });
  }

  it('refuse a caption of an image that is not there, and captions that are not ranked', () => {
    const square = ranked([[1, 0], [0, 1]], 1); // biome-ignore format: a matrix
    expect(() => retrievalRanks(square, square, Int32Array.of(0, 2)))
      .to.throw('found image 2 for caption 1')
      .with.property('code', 'bad_owner');
    expect(() => retrievalRanks(square, square, Int32Array.of(0)))
      .to.throw('found 1 for 2')
      .with.property('code', 'bad_owner');
  });
});
