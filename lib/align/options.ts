import { z } from 'zod';

import { deviceOption, option, parseOptions } from '../config/options.js';
import { KueaError } from '../errors.js';

const positive = z.number().positive();
const natural = z.int().nonnegative();
const count = z.int().positive();
const text = z.string().min(1);

/** Every option of an alignment once: type, default, heading and one line of help. */
export const alignSchema = z.strictObject({
  student: option('Models', 'CLIP to train: a Hugging Face folder, a weights file, or a hub id such as openai/clip-vit-base-patch16', text),
  teacher: option('Models', 'DINOv2 to follow: folder, file, or hub id such as facebook/dinov2-with-registers-large', text),
  teacherSize: option('Models', "side in pixels of the teacher's input (default: the student's size, at most 224)", count.optional()),
  teacherStatistics: option(
    'Models',
    "statistics that the teacher's pixels are normalised with; the published run feeds it CLIP's",
    z.enum(['clip', 'imagenet']).default('clip'),
  ),
  activation: option('Models', 'activation of a student whose file does not say it', z.enum(['quick_gelu', 'gelu']).optional()),

  data: option('Data', 'images: a folder, .tar shards ("shards/{000..146}.tar"), or a .safetensors file with pixels uint8 [N,3,S,S]', text),
  fraction: option('Data', 'part of the images to use, drawn by the seed', z.number().gt(0).max(1).default(1)),
  shuffle: option('Data', 'draw a new order each epoch', z.boolean().default(true)),
  resample: option('Data', "exact: Pillow's bicubic bit for bit; fast: sharp's resize", z.enum(['exact', 'fast']).default('exact')),
  maxSkipped: option('Data', 'undecodable images to skip before giving up', natural.default(100)),
  workers: option('Data', 'images decoded at a time (default: what the cores can use)', count.optional()),

  w: option(
    'Objective',
    'weight of the kernel term: L = w mean (K_clip - K_dino)^2 + mean |f - f0|^2',
    z.number().nonnegative().default(0.5),
  ),
  kernel: option(
    'Objective',
    'kernel, normalised: polynomial is (gamma x.y + coef0)^3',
    z.enum(['polynomial', 'gaussian', 'cosine']).default('polynomial'),
  ),
  gamma: option('Objective', "gamma of the student's polynomial kernel", positive.default(0.0032)),
  coef0: option('Objective', "c of the student's polynomial kernel", z.number().nonnegative().default(0.191623)),
  sigma: option('Objective', "bandwidth of the student's Gaussian kernel", positive.default(8.7)),
  sigmaTeacher: option('Objective', "bandwidth of the teacher's Gaussian kernel", positive.default(15.8)),
  kernelParams: option(
    'Objective',
    'train gamma and coef0 (or sigma) with the weights, as the paper says, or keep them, as the published code does',
    z.enum(['trainable', 'fixed']).default('trainable'),
  ),
  fitKernel: option('Objective', 'first find coef0 (or sigma) on a sample of images', z.boolean().default(false)),
  fitImages: option('Objective', 'size of that sample', z.int().min(2).default(256)),
  lossBackend: option('Objective', 'fused: one tiled sweep; plain: the textbook formula', z.enum(['fused', 'plain']).default('fused')),

  steps: option('Optimisation', 'updates to make (or give epochs)', count.optional()),
  epochs: option('Optimisation', 'passes over the images (default: 2)', positive.optional()),
  batchSize: option('Optimisation', 'images an update; the kernel matrix spans them all', z.int().min(1).default(64)),
  microBatch: option('Optimisation', 'images in memory at a time; the result is that of the whole batch (GradCache)', count.optional()),
  lr: option('Optimisation', 'peak learning rate', z.number().nonnegative().default(1e-5)),
  weightDecay: option('Optimisation', "AdamW's decay, on every weight of the student", z.number().nonnegative().default(1e-4)),
  beta1: option('Optimisation', "AdamW's beta1", z.number().min(0).lt(1).default(0.9)),
  beta2: option('Optimisation', "AdamW's beta2", z.number().min(0).lt(1).default(0.999)),
  eps: option('Optimisation', "AdamW's epsilon", positive.default(1e-8)),
  warmupSteps: option('Optimisation', 'updates of linear warm-up', natural.default(0)),
  scheduler: option('Optimisation', 'learning rate after the warm-up', z.enum(['cosine', 'constant']).default('cosine')),
  protocol: option(
    'Optimisation',
    "kuea-release repeats a quirk of the published code: the first update at the full rate; kuea-ddp, that of its forks: each rank's " +
      'kernels see its own images alone',
    z.enum(['default', 'kuea-release', 'kuea-ddp']).default('default'),
  ),
  precision: option(
    'Optimisation',
    'arithmetic of the blocks; master weights and kernels are fp32 in both',
    z.enum(['fp32', 'bf16']).default('fp32'),
  ),
  activationCheckpointing: option('Optimisation', 'compute each block twice and keep its input alone', z.boolean().default(false)),

  out: option('Run', 'folder of the run', text),
  cache: option('Run', 'folder of the frozen-embedding cache, or off (default: cache/ in the run)', text.optional()),
  seed: option('Run', 'seed of the order and the subset', natural.default(0)),
  resume: option('Run', 'go on from the newest checkpoint of the run', z.boolean().default(false)),
  device: deviceOption,
  threads: option('Run', 'threads of the computation (default: all cores)', count.optional()),
  logEvery: option('Run', 'updates between two lines of metrics', count.default(10)),
  saveEvery: option('Run', 'updates between two checkpoints; 0 saves at the end alone', natural.default(200)),
  keepCheckpoints: option('Run', 'checkpoints to keep', count.default(2)),
  exportLayouts: option(
    'Run',
    'what to export at the end',
    z
      .array(z.enum(['hf', 'open_clip', 'openai', 'visual']))
      .min(1)
      .default(['hf']),
  ),
  dryRun: option('Run', 'print the plan and stop', z.boolean().default(false)),
});

/** A complete, checked configuration. */
export type AlignConfig = z.output<typeof alignSchema>;
/** What a caller gives: `student`, `teacher`, `data` and `out` are needed, the rest has defaults. */
export type AlignOptions = z.input<typeof alignSchema>;
export type AlignKey = keyof AlignConfig;

/** Options that a resumed run may change: they do not change what is computed. */
export const freeAlignKeys: readonly AlignKey[] = [
  'out',
  'resume',
  'logEvery',
  'saveEvery',
  'keepCheckpoints',
  'threads',
  'workers',
  'cache',
  'dryRun',
  'exportLayouts',
  'maxSkipped',
];

/** Options that ranks may have otherwise: paths may differ between machines; what is behind them may not. */
export const localAlignKeys: readonly AlignKey[] = ['student', 'teacher', 'data', 'out', 'cache', 'workers', 'threads'];

/** As parseOptions, and what no key can say alone. */
export function resolveAlignConfig(options: Record<string, unknown>): AlignConfig {
  const config = parseOptions(alignSchema, options);
  const refuse = (why: string) => {
    throw new KueaError('bad_option', why);
  };
  if (config.steps !== undefined && config.epochs !== undefined)
    refuse(`expected steps or epochs, found both (${config.steps} and ${config.epochs}): leave one out`);
  if (config.microBatch !== undefined && config.microBatch > config.batchSize)
    refuse(`expected a microBatch of at most the batch size ${config.batchSize}, found ${config.microBatch}`);
  if (config.coef0 === 0 && config.kernelParams === 'trainable' && config.kernel === 'polynomial')
    refuse('expected a coef0 above 0 to train it, found 0: use --kernel-params fixed');
  return config;
}
