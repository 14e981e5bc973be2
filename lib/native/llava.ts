/** The part of the boundary that kuea-lora uses: LLaVA's shape, its trainer, its generation. See addon.ts. */
import type { ClipVisionArch, LoadStep, Precision, WriteStep } from './addon.js';

/** LLaMA/Vicuna: full multi-head attention (no grouped queries), no biases, no RoPE scaling. */
export interface LlamaArch {
  family: 'llama';
  width: number;
  layers: number;
  heads: number;
  mlpWidth: number;
  vocabulary: number;
  rmsNormEps: number;
  ropeTheta: number;
}

/**
 * How the frozen weights are kept. A file of that dtype is mapped and not copied (on the CPU). nf4: 4-bit NormalFloat in blocks of 64 with
 * double quantisation (QLoRA) for the linear maps of the language model's layers, bf16 for the rest.
 */
export type BasePrecision = 'fp32' | 'bf16' | 'fp16' | 'nf4';

/**
 * LLaVA-1.5. Names in the load plan: `vision.` before OpenAI's CLIP names (all blocks but the last, no `proj`, and `ln_post` only when
 * `feature` is ln_post), LLaVA's original ones for the rest: `model.embed_tokens.weight`, `model.layers.N.self_attn.q_proj.weight`,
 * `model.layers.N.input_layernorm.weight`, `model.norm.weight`, `lm_head.weight`, `model.mm_projector.{0,2}.{weight,bias}`.
 */
export interface LlavaSpec {
  vision: ClipVisionArch;
  mean: [number, number, number];
  std: [number, number, number];
  /** Patch tokens after the last block but one: as they are (LLaVA's hidden_states[-2]), or through ln_post (what the paper's code did). */
  feature: 'hidden' | 'ln_post';
  llama: LlamaArch;
  weights: LoadStep[];
  basePrecision: BasePrecision;
  /** Arithmetic of activations. */
  precision: Precision;
  /**
   * null: no adapter. `weights` null: A ~ U(-1/sqrt(in), 1/sqrt(in)) from `seed`, B = 0. Names are
   * `model.layers.N.self_attn.q_proj.lora_A.weight` [rank, in] and `.lora_B.weight` [out, rank], for q, k, v, o, gate, up and down of every
   * layer.
   */
  lora: { rank: number; alpha: number; weights: LoadStep[] | null; seed: number } | null;
  device: string;
}

export interface LoraTrainerSpec {
  model: LlavaSpec;
  /**
   * Probability of a zero in LoRA's input, 0 to 1. Zeros are a function of (seed, sampleKey, position in the sample, module, feature)
   * alone.
   */
  dropout: number;
  seed: number;
  trainProjector: boolean;
  /** Biases are never decayed. */
  optimizer: { beta1: number; beta2: number; eps: number; weightDecay: number };
  /** Largest gradient norm over all trained parameters; 0: no clipping. */
  maxGradNorm: number;
  /** A layer keeps its input alone and is computed again in the backward. */
  gradientCheckpointing: boolean;
  /** Kept layer inputs go to host memory (ignored on the CPU). */
  offload: boolean;
  /** The ring: `slots` times `imagesPerSlot` images, uint8 [n, 3, S, S] normalised on the device, or fp32 taken as they are. */
  slots: number;
  imagesPerSlot: number;
  pixels: 'u8' | 'f32';
  /** One of the ranks of the open process group: `update`, `gather` and `restore` are then called by all of them together. */
  distributed: boolean;
}

/** One or more samples laid end to end without padding; each attends to itself alone and counts its positions from 0. */
export interface MicroBatch {
  /** Slot of the images; ignored when `images` is 0. */
  slot: number;
  images: number;
  /** [T] ids; -200 at every position of an image feature. */
  tokens: Int32Array;
  /**
   * [T] at the tokens' own positions, -100 for none: the prediction made at t - 1 is for labels[t]. A sample's first label is never
   * predicted.
   */
  labels: Int32Array;
  /** [samples], the sum is T. */
  lengths: Int32Array;
  /** Row of each -200 in order: image * patches + patch. */
  imageRows: Int32Array;
  /** [samples] weight of each label's cross-entropy in the sum. */
  weights: Float32Array;
  /** [samples] identity of each sample in the run, for dropout. */
  sampleKeys: Uint32Array;
  /** What this micro-batch adds to the denominator of the loss. */
  denominator: number;
}

export interface LoraMetrics {
  /** Weighted cross-entropies / denominators, over all micro-batches (and ranks) of the update. */
  loss: number;
  /** L2 norm of the gradient before clipping. */
  gradNorm: number;
  labels: number;
  tokens: number;
  /** Seconds that the device thread spent in the micro-batches and the update. */
  seconds: number;
}

export interface NativeLoraTrainer {
  /** One view per slot, memory owned by the addon. */
  readonly slots: Uint8Array[];
  /** Trained tensors: LoRA's, then the projector's when it is trained. */
  readonly parameters: { name: string; shape: number[] }[];
  /** Forward and backward of one micro-batch into the gradients; the slot is free when it settles. Rejects `bad_batch`. */
  accumulate(batch: MicroBatch): Promise<void>;
  /**
   * Divides the gradients by the summed denominators and makes one AdamW update; resolves to null when `log` is false. Rejects `non_finite`
   * before anything was changed; the gradients are dropped then. A group with denominator 0 changes nothing.
   */
  update(request: { lr: number; projectorLr: number; log: boolean }): Promise<LoraMetrics | null>;
  /** Forward alone, without dropout. `loss` is the weighted sum, not divided. */
  evaluate(batch: MicroBatch): Promise<{ loss: number; denominator: number; labels: number }>;
  /** Brings AdamW's moments, of which each rank keeps a part, to rank 0: before its `write` of them, after the last micro-batch. */
  gather(): Promise<void>;
  /**
   * Overwrites parameters and AdamW moments from a checkpoint; `step` is the number of updates made so far. Of several ranks rank 0's plan
   * alone is read.
   */
  restore(plan: (LoadStep & { state?: 'value' | 'exp_avg' | 'exp_avg_sq' })[], step: number): Promise<void>;
  /** Header bytes, then each tensor; fsynced. `parameter` steps name trained tensors. Rejects `disk_full`. */
  write(file: string, header: Uint8Array, steps: WriteStep[]): Promise<void>;
  close(): Promise<void>;
}

export interface NativeLlava {
  /** Starts a sequence (an older one is dropped) and resolves to the likeliest next token. pixels: uint8 [images, 3, S, S]. */
  prefill(request: { tokens: Int32Array; imageRows: Int32Array; pixels: Uint8Array; images: number }): Promise<number>;
  /** Appends a token and resolves to the likeliest one after it. Rejects `no_sequence` before a prefill. */
  next(token: number): Promise<number>;
  close(): Promise<void>;
}

/**
 * 4-bit NormalFloat of plain numbers, for tests: codes (two a byte, the earlier one in the upper half) and the numbers that they stand for.
 */
export interface Nf4Result {
  codes: Uint8Array;
  values: Float32Array;
}
