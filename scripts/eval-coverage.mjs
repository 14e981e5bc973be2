/**
 * node scripts/eval-coverage.mjs [--draws 1000] [--resamples 2000] [--images 500]
 *
 * How often the 95 % intervals of the paired bootstrap hold the truth: draws synthetic predictions of two encoders whose difference is
 * known, again and again, and asks for an interval each time. Prints one JSON line a metric, {metric, truth, draws, coverage, width}; fails
 * where a coverage leaves 93 to 97 %.
 */
import { parseArgs } from 'node:util';
import { generator } from '../dist/lib/data/random.js';
import { accuracy, imageRetrieval, pairedBootstrap, perClassRecall, textRetrieval } from '../dist/lib/eval/bootstrap.js';

const { values } = parseArgs({
  options: {
    draws: { type: 'string', default: '1000' },
    resamples: { type: 'string', default: '2000' },
    images: { type: 'string', default: '500' },
  },
});
const [draws, resamples, images] = [values.draws, values.resamples, values.images].map(Number);

function uniforms(seed) {
  const next = generator(seed, 1);
  return () => next() / 2 ** 32;
}

const hits = (count, f) => Uint8Array.from({ length: count }, (_, i) => (f(i) ? 1 : 0));

/** The second encoder keeps a hit of the first with probability `stays`, and mends a miss with probability `mends`. */
const changed = (hit, stays, mends, uniform) => uniform() < (hit ? stays : mends);
const difference = (p, stays, mends) => p - (p * stays + (1 - p) * mends);

const classes = 4;
// Uneven classes, each with an accuracy of its own.
const classAccuracies = [0.9, 0.7, 0.5, 0.3];
const captions = [1, 3, 5, 5, 6];
const probeSeeds = 10;

/** Each gives the measures of both encoders on one draw of the data. */
const experiments = {
  acc1: {
    truth: difference(0.6, 0.9, 0.2),
    draw(uniform) {
      const a = hits(images, () => uniform() < 0.6);
      return [accuracy(a), accuracy(hits(images, (i) => changed(a[i], 0.9, 0.2, uniform)))];
    },
  },
  mean_per_class_recall: {
    truth: classAccuracies.reduce((sum, p) => sum + difference(p, 0.85, 0.25), 0) / classes,
    draw(uniform) {
      const labels = Int32Array.from({ length: images }, () => Math.floor(classes * uniform() ** 1.5));
      const a = hits(images, (i) => uniform() < classAccuracies[labels[i]]);
      return [
        perClassRecall(labels, a),
        perClassRecall(
          labels,
          hits(images, (i) => changed(a[i], 0.85, 0.25, uniform)),
        ),
      ];
    },
  },
  'image_retrieval_recall@1': {
    // An image's captions are easy or hard together.
    truth: difference(0.5, 0.8, 0.1),
    draw(uniform) {
      const [owners, first, second] = [[], [], []];
      for (let image = 0; image < images; image++) {
        const ease = uniform();
        for (let c = captions[Math.floor(captions.length * uniform())]; c > 0; c--) {
          const hit = uniform() < ease;
          owners.push(image);
          first.push(hit ? 0 : -1);
          second.push(changed(hit, 0.8, 0.1, uniform) ? 0 : -1);
        }
      }
      const measure = (ranks) =>
        imageRetrieval({ ofCaptions: Int32Array.from(ranks), ofImages: new Int32Array(images) }, Int32Array.from(owners), 1);
      return [measure(first), measure(second)];
    },
  },
  'text_retrieval_recall@1': {
    truth: difference(0.4, 0.7, 0.25),
    draw(uniform) {
      const a = hits(images, () => uniform() < 0.4);
      const measure = (of) => textRetrieval({ ofCaptions: new Int32Array(0), ofImages: Int32Array.from(of, (hit) => hit - 1) }, 1);
      return [measure(a), measure(hits(images, (i) => changed(a[i], 0.7, 0.25, uniform)))];
    },
  },
  [`lp_acc1 of ${probeSeeds} seeds`]: {
    // A seed makes a probe better or worse by up to 5 points on all images; most images are right or wrong with every seed.
    truth: 0.08,
    draw(uniform) {
      const ease = Float64Array.from({ length: images }, uniform);
      const seeds = (p) =>
        Array.from({ length: probeSeeds }, () => {
          const level = p + 0.1 * (uniform() - 0.5);
          return hits(images, (i) => ease[i] < level);
        });
      return [accuracy(...seeds(0.68)), accuracy(...seeds(0.6))];
    },
  },
};

for (const [metric, { truth, draw }] of Object.entries(experiments)) {
  let held = 0;
  let width = 0;
  for (let i = 0; i < draws; i++) {
    const [a, b] = draw(uniforms(i));
    const [{ low, high }] = await pairedBootstrap([a], [b], { resamples, seed: i });
    if (low <= truth && truth <= high) held++;
    width += (high - low) / draws;
  }
  const coverage = held / draws;
  console.log(JSON.stringify({ metric, truth, draws, coverage, width }));
  if (coverage < 0.93 || coverage > 0.97) process.exitCode = 1;
}
