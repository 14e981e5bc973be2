import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

import { deviceOption, option } from '../config/options.js';
import { KueaError } from '../errors.js';

const count = z.int().positive();
const text = z.string().min(1);

/** Options of every evaluation. */
const common = {
  model: option('Models', 'CLIP to measure: a folder, a file, a run of kuea-align or one of its checkpoints, or a hub id', text, {
    everyday: 'CLIP to measure: folder, file, run or hub id',
  }),
  activation: option('Models', 'activation of a model whose file does not say it', z.enum(['quick_gelu', 'gelu']).optional()),
  data: option('Data', 'the data: see each command', text.optional(), { everyday: 'folder of the data' }),
  dataset: option('Data', 'a published set, such as cifar10, found in $KUEA_DATA or on the hub', text.optional(), {
    everyday: 'a published set, such as cifar10',
  }),
  split: option('Data', 'split that is measured', text.default('test'), { everyday: true }),
  allowPartial: option(
    'Data',
    'take a published set that has other numbers of images than it was published with',
    z.boolean().default(false),
  ),
  workers: option('Data', 'images decoded at a time (default: what the cores can use)', count.optional()),
  protocol: option(
    'Objective',
    'clip-benchmark: as it is defined; kuea-release: with the quirks of the published code, to reproduce its numbers',
    z.enum(['clip-benchmark', 'kuea-release']).default('clip-benchmark'),
    { everyday: 'kuea-release repeats the published quirks' },
  ),
  precision: option('Run', 'arithmetic of the model; features are fp32 in both', z.enum(['fp32', 'bf16']).default('fp32'), {
    everyday: true,
  }),
  batchSize: option('Run', 'images embedded at a time', count.default(32)),
  device: deviceOption,
  threads: option('Run', 'threads of the computation (default: all cores)', count.optional()),
  cache: option('Run', 'folder of the cache of features, or off (default: one that all evaluations share)', text.optional(), {
    everyday: 'folder of the cache of features, or off',
  }),
  json: option('Run', 'file to write the result to', text.optional(), { everyday: true }),
};

export const zeroShotSchema = z.strictObject({
  ...common,
  classes: option('Data', "class names, a line each, instead of the data's own", text.optional(), { everyday: true }),
  templates: option('Data', 'templates such as "a photo of a {c}.", a line each, instead of the data\'s own', text.optional(), {
    everyday: true,
  }),
  predictions: option('Run', 'file to write the five best classes of each image to, a line of JSON each', text.optional(), {
    everyday: true,
  }),
});

export const retrievalSchema = z.strictObject({
  ...common,
  annotations: option('Data', "captions in COCO's or Karpathy's JSON, with --images, in place of --data", text.optional(), {
    everyday: true,
  }),
  images: option('Data', "folder of the images of --annotations (default: the file's own)", text.optional(), { everyday: true }),
  recallK: option('Objective', 'k of recall@k', z.array(count).min(1).default([1, 5, 10]), { everyday: true }),
});

export const linearProbeSchema = z.strictObject({
  ...common,
  trainSplit: option('Data', 'split that the probe is trained on', text.default('train'), { everyday: true }),
  valFraction: option(
    'Data',
    "part of the training split that chooses the probe's strength; 0 takes --l2 or --weight-decay",
    z.number().min(0).lt(1).default(0),
    { everyday: "part of the training split that chooses the probe's strength" },
  ),
  solver: option(
    'Optimisation',
    'lbfgs finds the optimum; adamw trains as CLIP_benchmark does',
    z.enum(['lbfgs', 'adamw']).default('lbfgs'),
    { everyday: true },
  ),
  l2: option('Optimisation', 'of lbfgs: cross-entropy + l2 / 2 |W|^2', z.number().nonnegative().default(1e-3), { everyday: true }),
  weightDecay: option('Optimisation', "AdamW's decay", z.number().nonnegative().default(0)),
  lr: option('Optimisation', "AdamW's peak learning rate", z.number().positive().default(0.1)),
  epochs: option('Optimisation', 'passes of adamw', count.default(10)),
  seed: option('Run', 'seed of the split, and of the first weights and the order of adamw', z.int().nonnegative().default(0)),
});

export type ZeroShotConfig = z.output<typeof zeroShotSchema>;
export type RetrievalConfig = z.output<typeof retrievalSchema>;
export type LinearProbeConfig = z.output<typeof linearProbeSchema>;

/** What all of them have. */
export type EvaluationConfig = Pick<ZeroShotConfig, keyof typeof common>;

/** What a caller of `evaluate` gives. */
export type EvaluateOptions =
  | ({ task: 'zero-shot' } & z.input<typeof zeroShotSchema>)
  | ({ task: 'retrieval' } & z.input<typeof retrievalSchema>)
  | ({ task: 'linear-probe' } & z.input<typeof linearProbeSchema>);

/** Where the data is. Throws KueaError `missing_option` and `bad_option`. */
export function placeOf({ data, dataset }: EvaluationConfig): string | { dataset: string; path?: string } {
  if (dataset !== undefined) return { dataset, ...(data === undefined ? {} : { path: data }) };
  if (data !== undefined) return data;
  throw new KueaError('missing_option', 'expected data (a folder) or dataset (the name of a published set), found neither');
}

/** Folder of the cache of features, or null. */
export function cacheOf({ cache }: EvaluationConfig): string | null {
  if (cache !== undefined) return cache === 'off' ? null : cache;
  const { KUEA_CACHE: ours, XDG_CACHE_HOME: theirs } = process.env;
  return join(ours ?? join(theirs ?? join(homedir(), '.cache'), 'kuea'), 'features');
}
