/** The mathematics of the evaluations: rankings and linear probes, on the CPU. */

/** fp32 rows. The array stays where it is: not to be written while a promise or a probe that was given it lives. */
export interface FeatureRows {
  data: Float32Array;
  /** Divide each row by its L2 norm, or by 1e-12 where that is greater. */
  normalise: boolean;
}

/** The best of each row: [rows, k], scores descending; equal scores by the lowest index. */
export interface Ranking {
  /** Columns: fewer than were asked for where there is less to rank. */
  k: number;
  indices: Int32Array;
  scores: Float32Array;
}

export interface TopKSpec {
  queries: FeatureRows;
  gallery: FeatureRows;
  /** Numbers in a row of either. */
  width: number;
  k: number;
  /** Added to the scores of each row of the gallery. */
  bias?: Float32Array;
  /** Rank the queries for each row of the gallery too. */
  bothWays: boolean;
}

/** Logits W x + b: W is [classes, width], row-major. */
export interface LinearSolution {
  weight: Float64Array;
  bias: Float64Array;
}

export interface LabelledFeatures {
  features: FeatureRows;
  width: number;
  /** One a row, from 0 to classes - 1. */
  labels: Int32Array;
  classes: number;
}

export interface LogisticRegressionSpec extends LabelledFeatures {
  /** The objective is the mean cross-entropy + l2 / 2 |W|^2, the bias free. */
  l2: number;
  /** Pairs that L-BFGS keeps. */
  history: number;
}

export interface LbfgsProgress {
  iterations: number;
  /** Passes over the features. */
  evaluations: number;
  objective: number;
  /** L2 norm. */
  gradientNorm: number;
  /** No step makes the objective less: what is left is rounding. */
  stalled: boolean;
}

/** Starts at zero. The same numbers whatever the number of threads. */
export interface NativeLogisticRegression {
  /** At most `count` iterations; 0 tells where it stands. */
  iterate(count: number): Promise<LbfgsProgress>;
  solution(): Promise<LinearSolution>;
  close(): Promise<void>;
}

export interface AdamWProbeSpec extends LabelledFeatures {
  /** Where it starts: [classes, width] and [classes]. */
  weight: Float32Array;
  bias: Float32Array;
  /** Of weight and bias. */
  weightDecay: number;
}

/** AdamW with torch's defaults on the mean cross-entropy, in fp32. */
export interface NativeAdamWProbe {
  /** A step for each `batch` of the rows in `order`, and a learning rate for each; resolves to the mean of their losses. */
  steps(request: { order: Uint32Array; batch: number; learningRates: Float64Array }): Promise<number>;
  solution(): Promise<LinearSolution>;
  close(): Promise<void>;
}
