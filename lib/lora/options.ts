import { z } from 'zod';
import { oneOf, option, parseOptions, type Telling } from '../config/options.js';
import { parseSaved } from '../config/saved.js';
import { KueaError } from '../errors.js';
import { type BatchCut, cutBatch } from '../run/batch.js';
import { adamOptions, freeRunKeys, imageOptions, runOptions, schedulerOption } from '../run/options.js';

const positive = z.number().positive();
const natural = z.int().nonnegative();
const count = z.int().positive();
const text = z.string().min(1);

/** Every option of a LoRA fine-tuning once: type, default, heading and one line of help. The defaults are LLaVA's recipe. */
export const loraSchema = z.strictObject({
  model: option(
    'Models',
    "LLaVA-1.5 to tune, or the Vicuna that it starts from: a folder in its original layout or llava-hf's, or a hub id such as " +
      'llava-hf/llava-1.5-7b-hf',
    text,
    { everyday: 'LLaVA-1.5, or Vicuna: a folder or a hub id' },
  ),
  visionTower: option('Models', "CLIP to see with, such as OUT/export/hf of kuea-align (default: the model's own)", text.optional(), {
    everyday: "CLIP to see with (default: the model's own)",
  }),
  activation: option('Models', 'activation of a tower whose file does not say it', z.enum(['quick_gelu', 'gelu']).optional()),
  visionFeature: option(
    'Models',
    "patch features after the last block but one: hidden, as LLaVA takes them; ln_post, as the paper's code did (default: hidden, or " +
      "the adapter's)",
    z.enum(['hidden', 'ln_post']).optional(),
  ),
  projector: option('Models', 'mm_projector.bin for a language model without one', text.optional()),
  basePrecision: option(
    'Models',
    'how the frozen weights are kept; nf4: 4 bits a number, double quantisation (default: that of --precision)',
    z.enum(['fp32', 'bf16', 'fp16', 'nf4']).optional(),
    { everyday: 'how the frozen weights are kept' },
  ),

  data: option(
    'Data',
    "conversations: llava-665k, a .json or .jsonl file of LLaVA's schema, or a .safetensors file of input_ids, labels and pixel_values",
    text,
    { everyday: 'llava-665k, or a .json, .jsonl or .safetensors file' },
  ),
  images: option(
    'Data',
    "folder that the images' paths start from (default: $KUEA_DATA for llava-665k, else the file's folder)",
    text.optional(),
    { everyday: "folder that the images' paths start from" },
  ),
  missing: option(
    'Data',
    'what to do about samples whose image is missing: leave them out, or not begin',
    z.enum(['skip', 'error']).default('error'),
  ),
  verifyImages: option('Data', 'decode every image before the first update, too', z.boolean().default(false)),
  maxLength: option('Data', "tokens of a sample at most, its image's patches counted; the rest is cut off", z.int().min(2).default(2048)),
  pack: option(
    'Data',
    'put several samples together up to --max-length; each sees itself alone, the loss stays the same',
    z.boolean().default(false),
  ),
  groupByModalityLength: option(
    'Data',
    'put samples of about the same length into an update, with images or without',
    z.boolean().default(true),
  ),
  shuffle: option('Data', 'draw a new order each epoch', z.boolean().default(true)),
  valFraction: option(
    'Data',
    'part of the samples, drawn by the seed, that is never trained on and gives the validation loss at every checkpoint',
    z.number().min(0).lt(1).default(0),
    { everyday: 'part held out for a validation loss' },
  ),
  ...imageOptions,

  adapter: option('Adapter', "adapter to start from, in PEFT's layout (default: a new one)", text.optional()),
  anyBase: option('Adapter', 'take the adapter although it was trained on another base', z.boolean().default(false)),
  rank: option('Adapter', "rank of each pair of matrices (default: 128, or the adapter's)", count.optional(), {
    everyday: 'rank of the adapter (default: 128)',
  }),
  alpha: option('Adapter', "scale of the adapter, times the rank (default: 256, or the adapter's)", positive.optional()),
  dropout: option('Adapter', "probability of a zero in an adapter's input", z.number().min(0).lt(1).default(0.05)),
  freezeProjector: option('Adapter', "leave the projector as it is, as the paper's code did", z.boolean().default(false)),

  steps: option('Optimisation', 'updates to make (or give epochs)', count.optional(), { everyday: true }),
  epochs: option('Optimisation', 'passes over the samples (default: 1)', positive.optional(), { everyday: true }),
  batchSize: option('Optimisation', 'samples of an update, over all ranks (default: 32 on each)', count.optional(), {
    everyday: 'samples of an update, over all ranks (default: 32 on each)',
  }),
  microBatch: option('Optimisation', 'samples that a rank has in memory at a time (default: 1)', count.optional(), {
    everyday: 'samples in memory at a time (default: 1)',
  }),
  gradAccum: option('Optimisation', 'micro-batches of an update, on each rank (default: what makes the batch, or 32)', count.optional()),
  lossNormalisation: option(
    'Optimisation',
    "what an update's loss is the mean of: sample, each one's mean over its answer; token, every token alike; microbatch, each " +
      "micro-batch's mean over its tokens",
    z.enum(['sample', 'token', 'microbatch']).default('sample'),
  ),
  lr: option('Optimisation', 'peak learning rate of the adapter', z.number().nonnegative().default(2e-4), { everyday: true }),
  projectorLr: option('Optimisation', 'peak learning rate of the projector', z.number().nonnegative().default(2e-5)),
  warmupSteps: option('Optimisation', 'updates of linear warm-up', natural.optional()),
  warmupRatio: option(
    'Optimisation',
    'part of all updates that the warm-up takes, rounded up (default: 0.03; 0 with --scheduler constant)',
    z.number().min(0).max(1).optional(),
  ),
  scheduler: schedulerOption,
  weightDecay: option('Optimisation', "AdamW's decay, on matrices", z.number().nonnegative().default(0)),
  ...adamOptions,
  maxGradNorm: option(
    'Optimisation',
    "norm that an update's gradient is cut to; 0, as in LLaVA's recipe, leaves it",
    z.number().nonnegative().default(0),
  ),
  precision: option('Optimisation', 'arithmetic; what is trained is fp32 in both', z.enum(['fp32', 'bf16']).default('bf16'), {
    everyday: 'arithmetic',
  }),
  activationCheckpointing: option('Optimisation', 'compute each layer twice and keep its input alone', z.boolean().default(true), {
    formerly: ['gradientCheckpointing'],
  }),
  offload: option('Optimisation', "keep those inputs in the machine's memory, not the GPU's", z.boolean().default(false)),

  ...runOptions,
  seed: option('Run', 'seed of the order, the new adapter and its dropout', natural.default(42)),
  logEvery: option('Run', 'updates between two lines of metrics', count.default(1)),
  dryRun: option(
    'Run',
    'print the recipe and the plan of the memory, and stop; of the model config.json will do',
    z.boolean().default(false),
    { everyday: 'print the recipe and the memory, and stop' },
  ),
  cardGib: option('Run', "memory that the plan is compared with, in GiB (default: the machine's)", positive.optional()),
});

/** A complete, checked configuration. */
export type LoraConfig = z.output<typeof loraSchema> & BatchCut;
/** What a caller gives: `model`, `data` and `out` are needed, the rest has defaults. */
export type LoraOptions = z.input<typeof loraSchema> & {
  /** @deprecated activationCheckpointing */
  gradientCheckpointing?: boolean | undefined;
};

/** Options that a resumed run may change: they do not change what is computed. */
export const freeLoraKeys: readonly (keyof LoraConfig)[] = [
  ...freeRunKeys,
  'cardGib',
  // Compared as what they are together, the samples of an update: other ranks may go on with a run.
  'batchSize',
  'gradAccum',
];

/** Options that ranks may have otherwise: paths may differ between machines; what is behind them may not. */
export const localLoraKeys: readonly (keyof LoraConfig)[] = [
  'model',
  'visionTower',
  'projector',
  'adapter',
  'data',
  'images',
  'out',
  'workers',
  'threads',
];

/**
 * In kuea 0.1 batchSize was a rank's micro-batch. Without a microBatch that settles it, it is the batch; but with fewer samples than
 * micro-batches it can only be meant as it was.
 */
function withoutFormerBatch<T extends Partial<BatchCut>>(config: T, ranks: number, { name = (key: string) => key, warn }: Telling): T {
  const { batchSize, microBatch, gradAccum = 1 } = config;
  if (batchSize === undefined || microBatch !== undefined) return config;
  const asked = `${name('batchSize')} ${batchSize}`;
  const parts = gradAccum * ranks;
  if (batchSize >= parts) {
    warn?.(
      `${asked} is the samples of an update over all ranks; kuea 0.1 took it for a rank's micro-batch, which is ` +
        `${name('microBatch')} now: give both to say which`,
    );
    return config;
  }
  warn?.(
    `${asked} is taken for ${name('microBatch')} ${batchSize}, as kuea 0.1 meant it, since ${parts} micro-batches cannot share ` +
      `${batchSize} ${batchSize === 1 ? 'sample' : 'samples'}: call it ${name('microBatch')}`,
  );
  return { ...config, batchSize: undefined, microBatch: batchSize };
}

/** As parseOptions, and what no key can say alone: the batch as `ranks` processes cut it, the default warm-up. */
export function resolveLoraConfig(
  options: Record<string, unknown>,
  { ranks = 1, ...telling }: Telling & { ranks?: number } = {},
): LoraConfig {
  const config = parseOptions(loraSchema, options, telling);
  const { name = (key: string) => key } = telling;
  oneOf(config, 'steps', 'epochs', telling);
  oneOf(config, 'warmupSteps', 'warmupRatio', telling);
  if (config.offload && !config.activationCheckpointing)
    throw new KueaError(
      'bad_option',
      `expected ${name('activationCheckpointing')} with ${name('offload')}, which moves what it keeps, found it off`,
    );
  const cut = cutBatch(withoutFormerBatch(config, ranks, telling), ranks, { microBatch: 1, gradAccum: 32 }, name);
  // 0.1's constant had no warm-up.
  if (config.warmupSteps === undefined) config.warmupRatio ??= config.scheduler === 'constant' ? 0 : 0.03;
  if (config.extend) config.resume = true;
  return { ...config, ...cut };
}

/**
 * The options of a run's config.yaml. 0.1's are told by their lack of a microBatch: its batchSize was one, its constant did not warm up.
 */
export function parseSavedLora(saved: Record<string, unknown>): z.output<typeof loraSchema> {
  if ('microBatch' in saved) return parseSaved(loraSchema, saved);
  const { batchSize, ...rest } = saved;
  return parseSaved(loraSchema, { ...rest, microBatch: batchSize, ...(saved['scheduler'] === 'constant' ? { warmupRatio: 0 } : {}) });
}
