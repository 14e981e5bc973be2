import { z } from 'zod';

import { oneOf, option, parseOptions, type Telling } from '../config/options.js';
import { parseSaved } from '../config/saved.js';
import { KueaError } from '../errors.js';
import { shareBatch } from '../run/batch.js';
import { adamOptions, evaluationOptions, freeRunKeys, imageOptions, runOptions, schedulerOption } from '../run/options.js';

const positive = z.number().positive();
const natural = z.int().nonnegative();
const count = z.int().positive();
const text = z.string().min(1);

/** Every option of an alignment once: type, default, heading and one line of help. */
export const alignSchema = z.strictObject({
  student: option(
    'Models',
    'CLIP to train: a Hugging Face folder, a weights file, or a hub id such as openai/clip-vit-base-patch16',
    text,
    { everyday: 'CLIP to train: folder, weights file or hub id' },
  ),
  teacher: option('Models', 'DINOv2 to follow: folder, file, or hub id such as facebook/dinov2-with-registers-large', text, {
    everyday: 'DINOv2 to follow: folder, weights file or hub id',
  }),
  teacherSize: option('Models', "side in pixels of the teacher's input (default: the student's size, at most 224)", count.optional()),
  teacherStatistics: option(
    'Models',
    "statistics that the teacher's pixels are normalised with; the published run feeds it CLIP's",
    z.enum(['clip', 'imagenet']).default('clip'),
  ),
  activation: option('Models', 'activation of a student whose file does not say it', z.enum(['quick_gelu', 'gelu']).optional()),

  data: option(
    'Data',
    'images: a folder, .tar shards ("shards/{000..146}.tar"), or a .safetensors file with pixels uint8 [N,3,S,S]',
    text,
    {
      everyday: 'images: a folder, .tar shards or a .safetensors file',
    },
  ),
  fraction: option('Data', 'part of the images to use, drawn by the seed', z.number().gt(0).max(1).default(1)),
  shuffle: option('Data', 'draw a new order each epoch', z.boolean().default(true)),
  resample: option('Data', "exact: Pillow's bicubic bit for bit; fast: sharp's resize", z.enum(['exact', 'fast']).default('exact')),
  valFraction: option(
    'Data',
    'part of the images, drawn by the seed, that is never trained on and gives the validation loss',
    z.number().min(0).lt(1).default(0),
    { everyday: 'part held out for a validation loss' },
  ),
  valData: option('Data', 'other images that give the validation loss, as --data takes them', text.optional()),
  ...imageOptions,

  w: option(
    'Objective',
    'weight of the kernel term: L = w mean (K_clip - K_dino)^2 + mean |f - f0|^2',
    z.number().nonnegative().default(0.5),
    { everyday: 'weight of the kernel term against the anchor' },
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
  fitKernel: option('Objective', 'first find coef0 (or sigma) on a sample of images', z.boolean().default(false), { everyday: true }),
  fitImages: option('Objective', 'size of that sample', z.int().min(2).default(256)),
  lossBackend: option('Objective', 'fused: one tiled sweep; plain: the textbook formula', z.enum(['fused', 'plain']).default('fused')),

  steps: option('Optimisation', 'updates to make (or give epochs)', count.optional(), { everyday: true }),
  epochs: option('Optimisation', 'passes over the images (default: 2)', positive.optional(), { everyday: true }),
  batchSize: option(
    'Optimisation',
    'images of an update, over all ranks; the kernel matrix spans them all (default: 64)',
    count.optional(),
    {
      everyday: 'images of an update, over all ranks (default: 64)',
    },
  ),
  microBatch: option(
    'Optimisation',
    'images that a rank has in memory at a time; the result is that of the whole batch (GradCache)',
    count.optional(),
    { everyday: 'images in memory at a time; the same result' },
  ),
  gradAccum: option('Optimisation', 'micro-batches of an update, on each rank (default: what --micro-batch makes of it)', count.optional()),
  lr: option('Optimisation', 'peak learning rate', z.number().nonnegative().default(1e-5), { everyday: true }),
  weightDecay: option('Optimisation', "AdamW's decay, on every weight of the student", z.number().nonnegative().default(1e-4)),
  ...adamOptions,
  warmupSteps: option('Optimisation', 'updates of linear warm-up (default: 0)', natural.optional(), { everyday: true }),
  warmupRatio: option('Optimisation', 'part of all updates that the warm-up takes, rounded up', z.number().min(0).max(1).optional()),
  scheduler: schedulerOption,
  maxGradNorm: option('Optimisation', "norm that an update's gradient is cut to; 0 leaves it", z.number().nonnegative().default(0)),
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
    { everyday: 'arithmetic of the blocks' },
  ),
  activationCheckpointing: option('Optimisation', 'compute each block twice and keep its input alone', z.boolean().default(false), {
    everyday: true,
  }),

  ...runOptions,
  ...evaluationOptions,
  cache: option('Run', 'folder of the frozen-embedding cache, or off (default: cache/ in the run)', text.optional()),
  seed: option('Run', 'seed of the order and the subset', natural.default(0)),
  logEvery: option('Run', 'updates between two lines of metrics', count.default(10)),
  exportLayouts: option(
    'Run',
    'what to export at the end',
    z
      .array(z.enum(['hf', 'open_clip', 'openai', 'visual']))
      .min(1)
      .default(['hf']),
  ),
  dryRun: option('Run', 'print the plan and stop', z.boolean().default(false), { everyday: true }),
});

/** A complete, checked configuration. */
export type AlignConfig = z.output<typeof alignSchema> & { batchSize: number };
/** What a caller gives: `student`, `teacher`, `data` and `out` are needed, the rest has defaults. */
export type AlignOptions = z.input<typeof alignSchema>;
export type AlignKey = keyof AlignConfig;

/** Options that a resumed run may change: they do not change what is computed. */
export const freeAlignKeys: readonly AlignKey[] = [
  ...freeRunKeys,
  'cache',
  'exportLayouts',
  'eval',
  'evalEvery',
  'best',
  // What it makes of the batch is in microBatch.
  'gradAccum',
];

/** Options that ranks may have otherwise: paths may differ between machines; what is behind them may not. */
export const localAlignKeys: readonly AlignKey[] = ['student', 'teacher', 'data', 'out', 'cache', 'workers', 'threads'];

/** As parseOptions, and what no key can say alone: the batch as `ranks` processes cut it, the default warm-up. */
export function resolveAlignConfig(
  options: Record<string, unknown>,
  { ranks = 1, ...telling }: Telling & { ranks?: number } = {},
): AlignConfig {
  const config = parseOptions(alignSchema, options, telling);
  const { name = (key: string) => key } = telling;
  oneOf(config, 'steps', 'epochs', telling);
  oneOf(config, 'warmupSteps', 'warmupRatio', telling);
  if (config.coef0 === 0 && config.kernelParams === 'trainable' && config.kernel === 'polynomial')
    throw new KueaError('bad_option', `expected a ${name('coef0')} above 0 to train it, found 0: give ${name('kernelParams')} fixed`);
  const { batchSize, microBatch } = shareBatch(config, ranks, 64, name);
  if (config.gradAccum !== undefined) config.microBatch = microBatch;
  if (config.warmupRatio === undefined) config.warmupSteps ??= 0;
  if (config.extend) config.resume = true;
  if (config.valFraction > 0 && config.valData !== undefined)
    throw new KueaError('bad_option', `expected ${name('valFraction')} or ${name('valData')}, found both: leave one out`);
  if (config.best !== undefined && config.eval === undefined)
    throw new KueaError('bad_option', `expected ${name('eval')} with ${name('best')}, found it alone: which suite has ${config.best}?`);
  return { ...config, batchSize };
}

/** The options of a run's config.yaml, whichever version wrote it. */
export const parseSavedAlign = (saved: Record<string, unknown>): z.output<typeof alignSchema> => parseSaved(alignSchema, saved);
