import { expect } from 'chai';

import { generator } from '../../lib/data/random.js';
import { fitAdamW, fitByValidation, fitLbfgs, type Labelled, searchStrength, strengths } from '../../lib/eval/probe.js';
import { classify } from '../../lib/eval/rank.js';
import { loadAddon } from '../../lib/native/load.js';
import { failure, goldenJson } from '../unit/data/images/support.js';
import { embeddings } from '../unit/eval/support.js';

interface LogisticCase {
  name: string;
  x: number[][];
  y: number[];
  classes: number;
  l2: number;
  objective: number;
  test: number[][];
  predicted: number[];
}

interface AdamWCase {
  name: string;
  classes: number;
  batch: number;
  weight_decay: number;
  x: number[][];
  y: number[];
  orders: number[][];
  start: { weight: number[]; bias: number[] };
  losses: number[];
  end: { weight: number[]; bias: number[] };
}

const logistic = await goldenJson<LogisticCase[]>('eval', 'logistic.json');
const adamw = await goldenJson<AdamWCase[]>('eval', 'adamw.json');
const addon = loadAddon();

/** Rows around a centre a class. */
function clusters(n: number, width: number, classes: number, seed: number, spread: number): Labelled {
  const next = generator(seed, 0);
  const signed = () => next() / 2 ** 31 - 1;
  const centres = generator(99, 0);
  const centre = Float32Array.from({ length: classes * width }, () => centres() / 2 ** 31 - 1);
  const labels = Int32Array.from({ length: n }, () => next() % classes);
  const data = Float32Array.from({ length: n * width }, (_, i) => {
    const row = Math.floor(i / width);
    return 1 + centre[labels[row]! * width + (i % width)]! + spread * signed();
  });
  return { features: { data, width }, labels };
}

describe('the L-BFGS probe', () => {
  for (const { name, x, y, classes, l2, objective, test, predicted } of logistic) {
    it(`${name}: reaches the optimum of torch and scikit-learn, and predicts the same`, async () => {
      const fit = await fitLbfgs({ features: embeddings(x), labels: Int32Array.from(y) }, classes, { l2 });
      expect(fit.converged).to.equal(true);
      // One row alone can be fitted without end: there the optimum is 0.
      expect(fit.objective).to.be.closeTo(objective, Math.max(1e-6 * objective, 1e-9));
      const { k, indices } = await classify(embeddings(test), fit.classifier);
      expect(predicted.map((_, i) => indices[i * k])).to.deep.equal(predicted);
    });
  }

  it('is the same whatever the number of threads', async () => {
    const { threads } = addon.info();
    for (const train of [clusters(5000, 40, 7, 1, 3), clusters(200, 300, 3, 2, 3)]) {
      const fits = [];
      try {
        for (const count of [1, 2, 5]) {
          await addon.setThreads(count);
          fits.push(await fitLbfgs(train, 7, { l2: 1e-3 }));
        }
      } finally {
        await addon.setThreads(threads);
      }
      expect(fits[1]).to.deep.equal(fits[0]);
      expect(fits[2]).to.deep.equal(fits[0]);
    }
  });

  it('says how far it came, and stops between iterations', async () => {
    const train = clusters(300, 20, 4, 3, 3);
    const few = await fitLbfgs(train, 4, { l2: 1e-4, maxIterations: 3 });
    expect([few.iterations, few.converged]).to.deep.equal([3, false]);
    const controller = new AbortController();
    const seen: number[] = [];
    const onIteration = ({ iterations }: { iterations: number }) => {
      seen.push(iterations);
      if (iterations === 2) controller.abort(new Error('enough'));
    };
    const stopped = fitLbfgs(train, 4, { l2: 1e-4, onIteration, signal: controller.signal });
    expect(await stopped.catch((error: Error) => error.message)).to.equal('enough');
    expect(seen).to.deep.equal([1, 2]);
  });

  it('refuses what is not finite, no class, or has no optimum', async () => {
    const train = clusters(50, 8, 3, 4, 1);
    expect(await failure(fitLbfgs(train, 2, { l2: 1 }))).to.include({ code: 'bad_label' });
    expect(await failure(fitLbfgs(train, 3, { l2: 0 }))).to.include({ code: 'bad_option' });
    expect(await failure(fitLbfgs({ ...train, labels: train.labels.slice(1) }, 3, { l2: 1 }))).to.include({ code: 'bad_label' });
    train.features.data[8 * 31] = NaN;
    expect((await failure(fitLbfgs(train, 3, { l2: 1 }))).message).to.include('in the features, found NaN or infinity in row 31');
    expect((await failure(fitAdamW(train, 3))).message).to.include('row 31');
  });
});

describe('the AdamW probe', () => {
  for (const c of adamw) {
    it(`${c.name}: equals torch's from the same start in the same order`, async () => {
      const [n, width, epochs] = [c.x.length, c.x[0]!.length, c.orders.length];
      const probe = await addon.openAdamWProbe({
        features: { data: embeddings(c.x).data, normalise: true },
        width,
        labels: Int32Array.from(c.y),
        classes: c.classes,
        weight: Float32Array.from(c.start.weight),
        bias: Float32Array.from(c.start.bias),
        weightDecay: c.weight_decay,
      });
      const batches = Math.ceil(n / c.batch);
      const rate = (step: number) => 0.05 * (1 + Math.cos((Math.PI * step) / (epochs * batches)));
      for (const [epoch, order] of c.orders.entries()) {
        const learningRates = Float64Array.from({ length: batches }, (_, i) => rate(epoch * batches + i));
        const loss = await probe.steps({ order: Uint32Array.from(order), batch: c.batch, learningRates });
        expect(loss).to.be.closeTo(c.losses[epoch]!, 1e-5 * c.losses[epoch]!);
      }
      const { weight, bias } = await probe.solution();
      await probe.close();
      for (const [i, value] of c.end.weight.entries()) expect(weight[i]).to.be.closeTo(value, 1e-5);
      for (const [i, value] of c.end.bias.entries()) expect(bias[i]).to.be.closeTo(value, 1e-5);
    });
  }

  it('learns, the same for the same seed and another for another', async () => {
    const train = clusters(400, 16, 5, 5, 0.5);
    const losses: number[] = [];
    const [one, again, other] = [
      await fitAdamW(train, 5, { seed: 1, onEpoch: ({ loss }) => losses.push(loss) }),
      await fitAdamW(train, 5, { seed: 1 }),
      await fitAdamW(train, 5, { seed: 2 }),
    ];
    expect(losses).to.have.length(10);
    expect(losses[9]).to.be.lessThan(0.3 * losses[0]!);
    expect(again).to.deep.equal(one);
    expect(other).to.not.deep.equal(one);
  });
});

describe('the search for a strength', () => {
  it('finds a peak among 97 strengths, trying few, each once', async () => {
    expect([strengths.length, strengths[0], strengths[96]]).to.deep.equal([97, 1e-6, 100]);
    for (const peak of [0, 5, 17, 40, 63, 96]) {
      const tried: number[] = [];
      const found = await searchStrength(async (strength) => {
        tried.push(strength);
        return -Math.abs(Math.log(strength / strengths[peak]!));
      });
      expect(found.strength).to.equal(strengths[peak]);
      expect(tried.length).to.equal(new Set(tried).size);
      expect(tried.length).to.be.at.most(15);
    }
  });

  it('takes the least of strengths that are equally good', async () => {
    expect(await searchStrength(async () => 0.5)).to.deep.equal({ strength: strengths[0], score: 0.5 });
  });

  it('trains on all of it with the strength that is best on the validation part', async () => {
    const [train, validation] = [clusters(60, 32, 4, 6, 4), clusters(80, 32, 4, 7, 4)];
    const { strength, validationAcc1, classifier } = await fitByValidation(train, validation, 4, { solver: 'lbfgs' });
    const data = Float32Array.from([...train.features.data, ...validation.features.data]);
    const all = { features: { data, width: 32 }, labels: Int32Array.from([...train.labels, ...validation.labels]) };
    expect(classifier).to.deep.equal((await fitLbfgs(all, 4, { l2: strength })).classifier);
    // Neither no penalty nor the greatest is as good: there was something to find.
    expect(validationAcc1).to.be.greaterThan(0.25);
    expect(strengths.includes(strength)).to.equal(true);
  });
});
