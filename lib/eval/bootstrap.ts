import { setImmediate } from 'node:timers/promises';

import { generator } from '../data/random.js';
import { KueaError } from '../errors.js';
import { type Hits, type RetrievalRanks, within } from './metrics.js';

/**
 * A metric as what its units (images, each with its captions) add to it: the mean over groups of the sum of the values over the sum of the
 * counts. One group and counts of 1 make a mean.
 */
export interface Measure {
  /** One array a seed of the probe, [units]; one where nothing is drawn at random. */
  values: readonly ArrayLike<number>[];
  /** Default 1 a unit. */
  counts?: ArrayLike<number>;
  /** The group of each unit, from 0: a group without units does not count. Default: one group. */
  groups?: Int32Array;
}

export const accuracy = (...hits: Hits[]): Measure => ({ values: hits });

export const perClassRecall = (labels: Int32Array, ...hits: Hits[]): Measure => ({ values: hits, groups: labels });

/** The part of images that have one of their captions among the first k. */
export const textRetrieval = ({ ofImages }: RetrievalRanks, k: number): Measure => ({ values: [within(ofImages, k)] });

/** The part of captions whose image is among the first k: captions are drawn with their image. */
export function imageRetrieval({ ofCaptions, ofImages }: RetrievalRanks, owners: Int32Array, k: number): Measure {
  const values = new Uint32Array(ofImages.length);
  const counts = new Uint32Array(ofImages.length);
  const hits = within(ofCaptions, k);
  for (const [caption, image] of owners.entries()) {
    values[image]! += hits[caption]!;
    counts[image]! += 1;
  }
  return { values: [values], counts };
}

export interface Interval {
  estimate: number;
  low: number;
  high: number;
}

export interface BootstrapOptions {
  /** Default 10,000. */
  resamples?: number;
  /** Default 0. */
  seed?: number;
  /** Part of the resamples that lie between low and high. Default 0.95. */
  confidence?: number;
  signal?: AbortSignal;
}

/** A function of how often each unit and each seed was drawn. */
function statistic({ values, counts, groups }: Measure): (units: ArrayLike<number>, seeds: ArrayLike<number>) => number {
  const total = values[0]!.length;
  const size = groups ? groups.reduce((most, group) => Math.max(most, group), 0) + 1 : 1;
  const above = new Float64Array(size);
  const below = new Float64Array(size);
  return (units, seeds) => {
    above.fill(0);
    below.fill(0);
    for (let i = 0; i < total; i++) {
      const weight = units[i]!;
      if (weight === 0) continue;
      let value = 0;
      for (let s = 0; s < values.length; s++) value += seeds[s]! * values[s]![i]!;
      const group = groups ? groups[i]! : 0;
      above[group]! += weight * value;
      below[group]! += weight * (counts ? counts[i]! : 1);
    }
    let sum = 0;
    let present = 0;
    for (let g = 0; g < size; g++) {
      if (below[g] === 0) continue;
      sum += above[g]! / below[g]!;
      present++;
    }
    return sum / present / values.length;
  };
}

/**
 * Units that add the same to every measure are of one kind, and what counts is how often a kind is drawn: thousands of images are a handful
 * of kinds. `of` is the kind of each unit; the measures have a unit a kind.
 */
function byKind(measures: readonly Measure[], units: number): { of: Uint32Array; measures: Measure[]; kinds: number } {
  const kinds = new Map<string, number>();
  const first: number[] = [];
  const columns = measures.flatMap(({ values, counts, groups }) => [...values, ...(counts ? [counts] : []), ...(groups ? [groups] : [])]);
  const of = Uint32Array.from({ length: units }, (_, unit) => {
    const key = columns.map((column) => column[unit]).join();
    const kind = kinds.get(key) ?? kinds.size;
    if (kind === kinds.size) first.push(unit);
    kinds.set(key, kind);
    return kind;
  });
  const pick = (column: ArrayLike<number>) => Float64Array.from(first, (unit) => column[unit]!);
  return {
    of,
    kinds: first.length,
    measures: measures.map(({ values, counts, groups }) => ({
      values: values.map(pick),
      ...(counts && { counts: pick(counts) }),
      ...(groups && { groups: Int32Array.from(first, (unit) => groups[unit]!) }),
    })),
  };
}

/** The quantile of ascending numbers, linear between them, as numpy's default. */
export function quantile(ascending: ArrayLike<number>, q: number): number {
  const place = q * (ascending.length - 1);
  const below = ascending[Math.floor(place)]!;
  return below + (place - Math.floor(place)) * (ascending[Math.ceil(place)]! - below);
}

/** Throws unless all measures are of the same units and seeds. */
function checkPaired(a: readonly Measure[], b: readonly Measure[]): { units: number; seeds: number } {
  const shape = ({ values }: Measure) => `${values[0]?.length ?? 0} images and ${values.length} seeds`;
  const shapes = new Set([...a, ...b].map(shape));
  const { values } = a[0]!;
  if (shapes.size !== 1 || a.length !== b.length || values.some(({ length }) => length !== values[0]!.length))
    throw new KueaError('unpaired', `expected both on the same images and seeds, found ${[...shapes].join(' against ')}`);
  if (values.length === 0 || values[0]!.length === 0)
    throw new KueaError('no_samples', 'expected at least one image to compare on, found none');
  return { units: values[0]!.length, seeds: values.length };
}

/**
 * Paired bootstrap: how much each of the measures of `a` exceeds that of `b`, with the percentile interval over resamples, in which images
 * and seeds are drawn with replacement, each on their own, the same ones for both sides and all measures. (Images alone where there is one
 * seed.) A resample draws each index as floor(n u), u a 32-bit fraction: it favours none by more than n / 2^32. Throws KueaError
 * `unpaired`.
 */
export async function pairedBootstrap(a: readonly Measure[], b: readonly Measure[], options: BootstrapOptions = {}): Promise<Interval[]> {
  const { resamples = 10_000, seed = 0, confidence = 0.95, signal } = options;
  const { units, seeds } = checkPaired(a, b);
  // Both sides have the same counts and groups: the difference is the measure of the differences.
  const differences = a.map((measure, m) => ({
    ...measure,
    values: measure.values.map((of, s) => Float64Array.from(of, (value, i) => value - b[m]!.values[s]![i]!)),
  }));
  const { of, kinds, measures } = byKind(differences, units);
  const statistics = measures.map(statistic);
  const drawnKinds = new Uint32Array(kinds);
  const drawnSeeds = new Uint32Array(seeds);
  const eachSeed = drawnSeeds.map((_, i) => i);
  const found = statistics.map(() => new Float64Array(resamples));
  const next = generator(seed, 0);
  /** Draws as many as there are; counts how often each kind came. */
  const draw = (kindOf: Uint32Array, drawn: Uint32Array) => {
    const n = kindOf.length;
    const fraction = n / 2 ** 32;
    drawn.fill(0);
    for (let i = 0; i < n; i++) drawn[kindOf[Math.floor(next() * fraction)]!]! += 1;
  };
  let resumed = performance.now();
  for (let r = 0; r < resamples; r++) {
    draw(of, drawnKinds);
    draw(eachSeed, drawnSeeds);
    for (const [m, value] of statistics.entries()) found[m]![r] = value(drawnKinds, drawnSeeds);
    if (performance.now() - resumed > 20) {
      await setImmediate();
      signal?.throwIfAborted();
      resumed = performance.now();
    }
  }
  const tail = (1 - confidence) / 2;
  drawnKinds.fill(0);
  for (const kind of of) drawnKinds[kind]! += 1;
  drawnSeeds.fill(1);
  return statistics.map((value, m) => {
    const ascending = found[m]!.sort();
    const estimate = value(drawnKinds, drawnSeeds);
    return { estimate, low: quantile(ascending, tail), high: quantile(ascending, 1 - tail) };
  });
}
