import { totalmem } from 'node:os';
import { formatBytes } from '../config/units.js';
import { imagesPerSlot } from '../data/conversations/packing.js';
import { KueaError } from '../errors.js';
import { visionPairs } from '../models/clip/keys.js';
import { languagePairs, linears, loraPairs, projectorPairs } from '../models/llava/keys.js';
import type { BasePrecision, ClipVisionArch, LlamaArch, LlavaSpec } from '../native/addon.js';
import { planWarmup } from '../run/schedule.js';
import type { LoraConfig } from './options.js';

/** Bytes, each of what a rank holds at a time. */
export interface LoraMemoryPlan {
  /** The frozen weights, as they are kept. */
  base: number;
  /** Adapter and trained projector: fp32 weights and gradients, and the copy that the arithmetic reads. */
  trained: number;
  /** AdamW's two moments of them, this rank's share. */
  moments: number;
  /** What the layers keep for the backward: their inputs alone with activation checkpointing. */
  kept: number;
  /** While one layer is computed again and gone back through, the copy of a weight in the arithmetic's dtype included. */
  layer: number;
  /** Logits that exist at a time, and the hidden states that have a label. */
  crossEntropy: number;
  /** The ring of images, and the tower's pass. */
  images: number;
  /** Node, libtorch, and what malloc keeps of small blocks. */
  process: number;
  total: number;
}

/** What a fine-tuning will do; everything that --dry-run prints. */
export interface LoraPlan {
  config: LoraConfig;
  /** What somebody should know before it runs, a sentence each. */
  warnings: string[];
  /** Where this process computes: cpu or cuda:N. */
  device: string;
  rank: number;
  alpha: number;
  basePrecision: BasePrecision;
  feature: LlavaSpec['feature'];
  /** Processes that train together. */
  ranks: number;
  /** Samples to train on, and to validate on. */
  samples: number;
  validation: number;
  /** Records that cannot be used. */
  leftOut: number;
  /** Samples of an update, over all ranks. */
  effectiveBatch: number;
  stepsPerEpoch: number;
  steps: number;
  warmup: number;
  /** Of the language model, and of the blocks of the tower that are used. */
  languageParameters: number;
  visionParameters: number;
  adapterTensors: number;
  adapterParameters: number;
  /** Trained: the adapter's, and the projector's unless frozen. */
  trainableParameters: number;
  memory: LoraMemoryPlan;
  /** What the memory is compared with, bytes. */
  card: number;
}

export interface LoraPlanInput {
  vision: ClipVisionArch;
  llama: LlamaArch;
  feature: LlavaSpec['feature'];
  rank: number;
  alpha: number;
  samples: number;
  validation: number;
  leftOut: number;
  /** Of a pixel's channel: uint8 or fp32. */
  pixelBytes: 1 | 4;
  ranks: number;
  /** Where this process computes: cpu or cuda:N. */
  device: string;
  /** Bytes. */
  card: number;
}

/** Micro-batches being filled while one is in work; and further ones for validation. */
export const trainingSlots = 3;
export const validationSlots = 2;

const processBytes = 512 * 2 ** 20;

/** Numbers of the logits that the addon makes at a time. */
const logitsChunk = 2 ** 22;

const numbers = (pairs: readonly { shape: readonly number[] }[]) =>
  pairs.reduce((sum, { shape }) => sum + shape.reduce((product, side) => product * side, 1), 0);

/** The tower without its last block and its projection. */
function usedVisionParameters(vision: ClipVisionArch, feature: LlavaSpec['feature']): number {
  const used = visionPairs({ ...vision, layers: vision.layers - 1 }).filter(
    ({ name }) => name !== 'proj' && (feature === 'ln_post' || !name.startsWith('ln_post')),
  );
  return numbers(used);
}

/** Bytes a number: NF4 has half a byte, a byte for each 64 (their scale), and four for each 256 of those. */
const nf4Bytes = 0.5 + 1 / 64 + 4 / (64 * 256);
const floatBytes = { fp32: 4, bf16: 2, fp16: 2 } as const;

function planMemory(config: LoraConfig, input: LoraPlanInput, basePrecision: BasePrecision, trained: number): LoraMemoryPlan {
  const { vision, llama, feature, rank, ranks, pixelBytes } = input;
  const { width, mlpWidth, layers } = llama;
  const item = floatBytes[config.precision];
  const dense = basePrecision === 'nf4' ? floatBytes.bf16 : floatBytes[basePrecision];
  const linear = layers * numbers(linears(llama));
  const frozenProjector = config.freezeProjector ? numbers(projectorPairs(vision.width, width, 'original')) : 0;
  const otherWeights = numbers(languagePairs(llama, 'original')) - linear + usedVisionParameters(vision, feature) + frozenProjector;
  const patches = (vision.imageSize / vision.patchSize) ** 2;
  const images = imagesPerSlot({ packing: config.pack, batchSize: config.microBatch, maxLength: config.maxLength, patches });
  const tokens = config.maxLength * (config.pack ? 1 : config.microBatch);

  // Of each token: the residual before attention and before the MLP, q, k, v, attention's output; gate and up; seven adapters' inner rows.
  const layerState = tokens * item * (6 * width + 2 * mlpWidth + 7 * rank);
  // Those, the gradients, and what is made again: as many blocks as the allocator holds after an update (docs/lora.md has the measurement),
  // six of fp32.
  const working = tokens * (item * (19 * width + 5 * mlpWidth + 7 * rank) + 6 * 4 * width);
  const copy = basePrecision !== 'nf4' && dense === item ? 0 : item * width * mlpWidth;
  const ring = (trainingSlots + (config.valFraction > 0 ? validationSlots : 0)) * images * 3 * vision.imageSize ** 2 * pixelBytes;
  // The tower keeps nothing: a block's qkv, its attention and its MLP at their widest; then its features and the projector's two layers.
  const tower = images * patches * item * (6 * vision.width + 2 * vision.mlpWidth + 2 * width);
  const keptInputs = config.activationCheckpointing && config.offload && input.device !== 'cpu' ? 0 : layers * tokens * width * item;
  const parts = {
    base: (basePrecision === 'nf4' ? linear * nf4Bytes : linear * dense) + otherWeights * dense,
    trained: trained * (8 + (config.precision === 'bf16' ? 2 : 0)),
    moments: Math.ceil((trained * 8) / ranks),
    kept: config.activationCheckpointing ? keptInputs : layers * layerState,
    layer: working + copy - (config.activationCheckpointing ? 0 : layerState),
    crossEntropy: Math.min(logitsChunk, tokens * llama.vocabulary) * item + 2 * tokens * width * item,
    images: ring + tower,
    process: processBytes,
  };
  return { ...parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0) };
}

/** Rank and alpha of the adapter: its own when there is one to start from. Throws KueaError `bad_option` when others are asked for. */
export function adapterShape(
  { rank, alpha, adapter }: LoraConfig,
  found: { rank: number; alpha: number } | null,
): { rank: number; alpha: number } {
  if (!found) return { rank: rank ?? 128, alpha: alpha ?? 256 };
  for (const [key, asked, own] of [
    ['rank', rank, found.rank],
    ['alpha', alpha, found.alpha],
  ] as const) {
    if (asked !== undefined && asked !== own)
      throw new KueaError('bad_option', `expected ${key} ${own}, as the adapter ${adapter} has it, found ${asked}: leave it out`);
  }
  return { rank: found.rank, alpha: found.alpha };
}

export const cardBytes = ({ cardGib }: LoraConfig) => (cardGib === undefined ? totalmem() : cardGib * 2 ** 30);

export function planLora(config: LoraConfig, input: LoraPlanInput): LoraPlan {
  const { vision, llama, feature, rank, alpha, samples, validation, leftOut, ranks, device, card } = input;
  const basePrecision = config.basePrecision ?? config.precision;
  const stepsPerEpoch = Math.ceil(samples / config.batchSize);
  const steps = config.steps ?? Math.ceil((config.epochs ?? 1) * stepsPerEpoch);
  const { warmup, warning } = planWarmup(config, steps);
  const adapter = loraPairs(llama, rank, '');
  const trainable = numbers(adapter) + (config.freezeProjector ? 0 : numbers(projectorPairs(vision.width, llama.width, 'original')));
  return {
    config,
    warnings: warning === undefined ? [] : [warning],
    device,
    rank,
    alpha,
    basePrecision,
    feature,
    ranks,
    samples,
    validation,
    leftOut,
    effectiveBatch: config.batchSize,
    stepsPerEpoch,
    steps,
    warmup,
    languageParameters: numbers(languagePairs(llama, 'original')),
    visionParameters: usedVisionParameters(vision, feature),
    adapterTensors: adapter.length,
    adapterParameters: numbers(adapter),
    trainableParameters: trainable,
    memory: planMemory(config, input, basePrecision, trainable),
    card,
  };
}

/** The plan for people, a line each. */
export function formatLoraPlan(plan: LoraPlan): string {
  const { config, memory, card } = plan;
  const number = (n: number) => n.toLocaleString('en-US');
  const fits =
    memory.total <= card
      ? 'fits'
      : `needs ${formatBytes(memory.total - card)} more: try --base-precision nf4, --micro-batch 1 or a smaller --max-length`;
  const leftOut = plan.leftOut > 0 ? `, ${number(plan.leftOut)} records left out` : '';
  const decay = config.weightDecay > 0 ? `, decay ${config.weightDecay}` : ', no decay';
  const rows: [string, string][] = [
    ['model', `${config.model} (${number(plan.languageParameters)} parameters, kept in ${plan.basePrecision})`],
    ['tower', `${config.visionTower ?? "the model's own"} (${number(plan.visionParameters)} parameters used, ${plan.feature} features)`],
    [
      'adapter',
      `rank ${plan.rank}, alpha ${plan.alpha}, dropout ${config.dropout}: ${plan.adapterTensors} tensors, ` +
        `${number(plan.adapterParameters)} parameters`,
    ],
    [
      'trainable',
      `${number(plan.trainableParameters)} parameters, ${config.freezeProjector ? 'the projector frozen' : 'the projector with them'}`,
    ],
    [
      'samples',
      `${number(plan.samples)} from ` +
        `${config.data}${plan.validation > 0 ? `, and ${number(plan.validation)} to validate on` : ''}${leftOut}`,
    ],
    [
      'batch',
      `${plan.effectiveBatch} = ${config.microBatch} samples x ${config.gradAccum} micro-batches x ${plan.ranks} ` +
        `${plan.ranks === 1 ? 'rank' : 'ranks'}${config.pack ? ', packed' : ''}; loss by ${config.lossNormalisation}`,
    ],
    ['steps', `${number(plan.steps)} (${number(plan.stepsPerEpoch)} an epoch), ${number(plan.warmup)} of them warm-up`],
    [
      'optimiser',
      `AdamW, lr ${config.lr}${config.freezeProjector ? '' : ` (projector ${config.projectorLr})`}, ` +
        `${config.scheduler}${decay}${config.maxGradNorm > 0 ? `, gradients cut to ${config.maxGradNorm}` : ''}`,
    ],
    [
      'precision',
      `${config.precision} on ${plan.device}, up to ${number(config.maxLength)} tokens` +
        (config.activationCheckpointing ? ', activation checkpointing' : ''),
    ],
    ['memory', `${formatBytes(memory.total)} a rank of ${formatBytes(card)}: ${fits}`],
    [
      '',
      `base ${formatBytes(memory.base)}, trained weights and gradients ${formatBytes(memory.trained)}, moments ` +
        `${formatBytes(memory.moments)}`,
    ],
    [
      '',
      `${config.activationCheckpointing ? 'layer inputs' : 'layers'} ${formatBytes(memory.kept)}, a layer at work ` +
        `${formatBytes(memory.layer)}, cross-entropy ${formatBytes(memory.crossEntropy)}, images ${formatBytes(memory.images)}, process ` +
        `${formatBytes(memory.process)}`,
    ],
    ['run', config.out],
  ];
  return rows.map(([name, value]) => `${name.padEnd(10)} ${value}`).join('\n');
}
