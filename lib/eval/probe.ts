import { permutation } from '../data/images/sampler.js';
import { generator } from '../data/random.js';
import { KueaError } from '../errors.js';
import type { LabelledFeatures, LinearSolution } from '../native/addon.js';
import { loadAddon } from '../native/load.js';
import { learningRate, type Schedule } from '../run/schedule.js';
import { hitsAt, mean } from './metrics.js';
import { type Classifier, checkEmbeddings, classify, type Embeddings, rowsOf } from './rank.js';

/** Embeddings, not normalised yet, and the class of each row. */
export interface Labelled {
  features: Embeddings;
  labels: Int32Array;
}

interface Watched {
  signal?: AbortSignal;
}

export interface LbfgsOptions extends Watched {
  /** The objective is the mean cross-entropy + l2 / 2 |W|^2, the bias free, on L2-normalised features. */
  l2: number;
  /** Default 2,000. */
  maxIterations?: number;
  onIteration?: (iteration: { iterations: number; objective: number; gradientNorm: number }) => void;
}

export interface LbfgsFit {
  classifier: Classifier;
  objective: number;
  iterations: number;
  /** False where maxIterations came first. */
  converged: boolean;
}

export interface AdamWOptions extends Watched {
  /** Default 0. */
  weightDecay?: number;
  /** Default 0.1, down a half cosine to 0 at the end. */
  lr?: number;
  /** Default 10. */
  epochs?: number;
  /** Default 64. */
  batchSize?: number;
  /** Of the first weights and the order of the rows. Default 0. */
  seed?: number;
  onEpoch?: (epoch: { epoch: number; loss: number }) => void;
}

/** As the addon takes them. Throws KueaError `bad_embeddings`, `bad_label`. */
function native({ features, labels }: Labelled, classes: number): LabelledFeatures {
  checkEmbeddings(features, 'features');
  if (labels.length !== rowsOf(features))
    throw new KueaError('bad_label', `expected a label for each of ${rowsOf(features)} rows, found ${labels.length}`);
  return { features: { data: features.data, normalise: true }, width: features.width, labels, classes };
}

const classifier = ({ weight, bias }: LinearSolution, width: number): Classifier => ({
  weight: { data: Float32Array.from(weight), width },
  bias: Float32Array.from(bias),
});

/** Pairs that L-BFGS keeps: many, as they cost little beside a pass over the features. */
const history = 50;

/**
 * How far above its minimum the objective may end, as a part of it. With the penalty the objective curves by l2 at least along every
 * weight, so that it exceeds its minimum by no more than |gradient|^2 / (2 l2), but for what the bias, which has no penalty, may add.
 */
const gap = 1e-9;

/**
 * Fits a linear classifier to its optimum by L-BFGS in float64: nothing is drawn, and the result is the same whatever the number of
 * threads. Rejects with KueaError `non_finite` or `bad_label`, and the signal's reason between two iterations.
 */
export async function fitLbfgs(train: Labelled, classes: number, options: LbfgsOptions): Promise<LbfgsFit> {
  const { l2, maxIterations = 2000, onIteration, signal } = options;
  if (!(l2 > 0 && Number.isFinite(l2))) {
    throw new KueaError('bad_option', `expected an l2 above 0, found ${l2}: without it there may be no optimum, use 1e-6 for hardly any`);
  }
  const problem = await loadAddon().openLogisticRegression({ ...native(train, classes), l2, history });
  try {
    let progress = await problem.iterate(0);
    const converged = () => progress.stalled || progress.gradientNorm ** 2 <= 2 * l2 * gap * progress.objective;
    while (!converged() && progress.iterations < maxIterations) {
      signal?.throwIfAborted();
      progress = await problem.iterate(1);
      onIteration?.(progress);
    }
    const { objective, iterations } = progress;
    return { classifier: classifier(await problem.solution(), train.features.width), objective, iterations, converged: converged() };
  } finally {
    await problem.close();
  }
}

/**
 * Trains a linear classifier as CLIP_benchmark does: AdamW on the mean cross-entropy of L2-normalised features, by batches, the rate set
 * before each update. Weights and bias start uniform in +-1 / sqrt(width), as torch's do, but from our own generator, which also draws the
 * order: the numbers agree with a run of torch's in distribution, not digit by digit. Rejects as fitLbfgs.
 */
export async function fitAdamW(train: Labelled, classes: number, options: AdamWOptions = {}): Promise<Classifier> {
  const { weightDecay = 0, lr = 0.1, epochs = 10, batchSize = 64, seed = 0, onEpoch, signal } = options;
  const { width } = train.features;
  const rows = rowsOf(train.features);
  const next = generator(seed, initialStream);
  const initial = (length: number) => Float32Array.from({ length }, () => ((2 * next()) / 2 ** 32 - 1) / Math.sqrt(width));
  const start = { weight: initial(classes * width), bias: initial(classes), weightDecay };
  const probe = await loadAddon().openAdamWProbe({ ...native(train, classes), ...start });
  try {
    const batches = Math.ceil(rows / batchSize);
    const schedule: Schedule = { lr, warmup: 0, scheduler: 'cosine', first: 'step' };
    for (let epoch = 0; epoch < epochs; epoch++) {
      signal?.throwIfAborted();
      const learningRates = Float64Array.from({ length: batches }, (_, i) => learningRate(schedule, epoch * batches + i, epochs * batches));
      const loss = await probe.steps({ order: permutation(rows, seed, epoch), batch: batchSize, learningRates });
      onEpoch?.({ epoch, loss });
    }
    return classifier(await probe.solution(), width);
  } finally {
    await probe.close();
  }
}

/** The generator's stream for the first weights: no epoch has this number, and the sampler's subset has another. */
const initialStream = 0xfffffffe;

/** The strengths that a search is among: 97, from 1e-6 to 100, twelve a decade. */
export const strengths = Float64Array.from({ length: 97 }, (_, i) => 10 ** (-6 + i / 12));

/**
 * CLIP_benchmark's search for the strength (weight decay, l2) with the best score: every sixteenth of `strengths`, then the best's
 * neighbours 8, 4, 2 and 1 places off. Of equal scores the least strength wins. Each strength is tried once.
 */
export async function searchStrength(score: (strength: number) => Promise<number>): Promise<{ strength: number; score: number }> {
  const tried = new Map<number, number>();
  const best = async (places: number[]) => {
    let peak = places[0]!;
    for (const place of places) {
      if (!tried.has(place)) tried.set(place, await score(strengths[place]!));
      if (tried.get(place)! > tried.get(peak)!) peak = place;
    }
    return peak;
  };
  const last = strengths.length - 1;
  let peak = await best([0, 16, 32, 48, 64, 80, last]);
  for (const step of [8, 4, 2, 1]) peak = await best([Math.max(peak - step, 0), peak, Math.min(peak + step, last)]);
  return { strength: strengths[peak]!, score: tried.get(peak)! };
}

function concatenated(a: Labelled, b: Labelled): Labelled {
  const data = new Float32Array(a.features.data.length + b.features.data.length);
  data.set(a.features.data);
  data.set(b.features.data, a.features.data.length);
  return { features: { data, width: a.features.width }, labels: Int32Array.from([...a.labels, ...b.labels]) };
}

export type ProbeSolver = ({ solver: 'lbfgs' } & Omit<LbfgsOptions, 'l2'>) | ({ solver: 'adamw' } & Omit<AdamWOptions, 'weightDecay'>);

async function fitWith(train: Labelled, classes: number, options: ProbeSolver, strength: number): Promise<Classifier> {
  if (options.solver === 'adamw') return fitAdamW(train, classes, { ...options, weightDecay: strength });
  return (await fitLbfgs(train, classes, { ...options, l2: strength })).classifier;
}

/**
 * A probe whose strength is the one that is best on `validation` (acc1), trained again on all of it: `strength` is the l2 of 'lbfgs', the
 * weight decay of 'adamw'.
 */
export async function fitByValidation(
  train: Labelled,
  validation: Labelled,
  classes: number,
  options: ProbeSolver,
): Promise<{ classifier: Classifier; strength: number; validationAcc1: number }> {
  checkEmbeddings(validation.features, 'validation features', train.features.width);
  const { strength, score } = await searchStrength(async (candidate) => {
    const predicted = await classify(validation.features, await fitWith(train, classes, options, candidate));
    return mean(hitsAt(predicted, validation.labels, 1));
  });
  return { classifier: await fitWith(concatenated(train, validation), classes, options, strength), strength, validationAcc1: score };
}
