import { openClassified } from '../data/labelled/classified.js';
import type { ClassifiedSet } from '../data/labelled/sets.js';
import { split as splitIndices } from '../data/split.js';
import { KueaError } from '../errors.js';
import type { WeightsFile } from '../models/kind.js';
import type { Evaluation } from './events.js';
import { featuresOf, openModel } from './features.js';
import { classificationPerImage, type Measured } from './measured.js';
import { probeMetrics } from './metrics.js';
import { type LinearProbeConfig, placeOf } from './options.js';
import { fitAdamW, fitByValidation, fitLbfgs, type Labelled, type ProbeSolver } from './probe.js';
import { type Classifier, classify, type Embeddings } from './rank.js';
import { resultOf } from './result.js';

/**
 * A linear probe on frozen features. Under kuea-release the test images alone are not normalised, as the published evaluation does it: the
 * probe is tested on other statistics than it was trained on.
 */
export async function linearProbe(config: LinearProbeConfig, evaluation: Evaluation): Promise<Measured> {
  const started = performance.now();
  const { split, trainSplit, protocol, allowPartial } = config;
  const weights = await openModel(config, evaluation);
  const open = (name: string) => openClassified(placeOf(config), { split: name, protocol, allowPartial, signal: evaluation.signal });
  const train = await open(trainSplit);
  try {
    const test = await open(split);
    try {
      const classes = Math.max(train.classCount, test.classCount);
      const trained = await labelled(weights, train, config, evaluation, false);
      const tested = await labelled(weights, test, config, evaluation, protocol === 'kuea-release');
      evaluation.emit({ type: 'phase', name: 'training the probe' });
      const { classifier, more } = await trainProbe(trained, classes, config, evaluation.signal);
      const { features, labels } = tested;
      const predicted = await classify(features, classifier);
      const metrics = { ...probeMetrics(predicted, labels, classes), ...more };
      return {
        result: await resultOf('linear_probe', config, weights, test, labels.length, metrics, started),
        images: Array.from(labels, (_, i) => test.images.name(i)),
        ...classificationPerImage(predicted, labels, classes, 'lp_'),
      };
    } finally {
      await test.close();
    }
  } finally {
    await train.close();
  }
}

async function labelled(
  weights: WeightsFile,
  { images, answers, notes }: ClassifiedSet,
  config: LinearProbeConfig,
  evaluation: Evaluation,
  raw: boolean,
): Promise<Labelled> {
  for (const message of notes) evaluation.emit({ type: 'warning', message });
  if (answers.kind !== 'one') throw new KueaError('wrong_task', 'expected one class for each image for a linear probe, found several');
  return { features: await featuresOf(weights, images, config, evaluation, raw), labels: Int32Array.from(answers.labels) };
}

type Fit = { classifier: Classifier; more: Record<string, number> };

async function trainProbe(train: Labelled, classes: number, config: LinearProbeConfig, signal: AbortSignal | undefined): Promise<Fit> {
  const { solver, l2, weightDecay, lr, epochs, seed, valFraction } = config;
  const watched = signal ? { signal } : {};
  const chosen: ProbeSolver = solver === 'lbfgs' ? { solver, ...watched } : { solver, lr, epochs, seed, ...watched };
  if (valFraction > 0) {
    const parts = splitIndices(train.labels.length, valFraction, seed);
    const { classifier, strength } = await fitByValidation(take(train, parts.train), take(train, parts.validation), classes, chosen);
    return { classifier, more: { [solver === 'lbfgs' ? 'l2' : 'weight_decay']: strength } };
  }
  if (solver === 'adamw') return { classifier: await fitAdamW(train, classes, { weightDecay, lr, epochs, seed, ...watched }), more: {} };
  const { classifier, objective } = await fitLbfgs(train, classes, { l2, ...watched });
  return { classifier, more: { lp_objective: objective } };
}

/** The rows that are named. */
function take({ features: { data, width }, labels }: Labelled, rows: Uint32Array): Labelled {
  const taken: Embeddings = { data: new Float32Array(rows.length * width), width };
  for (const [i, row] of rows.entries()) taken.data.set(data.subarray(row * width, (row + 1) * width), i * width);
  return { features: taken, labels: Int32Array.from(rows, (row) => labels[row]!) };
}
