/**
 * The boundary: what the C++ addon exports, typed by hand (rule 1: no tensor has a JavaScript name).
 * `native/bind/` registers exactly these names; test/native/boundary.test.ts compares the two.
 */

import type { AdamWProbeSpec, LogisticRegressionSpec, NativeAdamWProbe, NativeLogisticRegression, Ranking, TopKSpec } from './eval.js';
import type { LlavaSpec, LoraTrainerSpec, NativeLlava, NativeLoraTrainer, Nf4Result } from './llava.js';
import type { NativeTextEncoder, TextEncoderSpec } from './text.js';

export type * from './eval.js';
export type * from './llava.js';
export type * from './text.js';

/** dtypes that the addon reads from files, in safetensors' spelling. Trained tensors are F32 in memory, whatever the file has. */
export type StoredDtype = 'F64' | 'F32' | 'F16' | 'BF16';

/** Where the bytes of one stored tensor lie: a range of a file, nothing read yet. */
export interface TensorBytes {
  file: string;
  /** Byte offset of element 0 from the start of the file. */
  offset: number;
  dtype: StoredDtype;
  shape: number[];
  /** In elements; row-major when absent. Overlap and broadcasting (stride 0) are allowed. */
  strides?: number[];
}

/**
 * One copy of a load plan: `source` (transposed if `transpose`, 2-D only) becomes rows [row, row + shape[0]) of
 * parameter `parameter` (row 0 and the whole parameter when absent). The addon refuses a plan that leaves an element of a
 * parameter unset, sets one twice, names an unknown parameter, or whose shapes differ.
 */
export interface LoadStep {
  parameter: string;
  row?: number;
  source: TensorBytes;
  transpose?: boolean;
}

/**
 * One tensor of a file to be written. The TypeScript side has already written names, dtypes and offsets in the safetensors header;
 * the addon appends these tensors' bytes in this order, row-major, as `dtype` (F32 when absent). `merge` adds scale * b a to the source
 * ([out, in] + [out, r] [r, in]) in fp32, before the conversion and after the transposition.
 */
export type WriteStep = { transpose?: boolean; dtype?: StoredDtype } & (
  | { parameter: string; row?: number; rows?: number; state?: 'value' | 'exp_avg' | 'exp_avg_sq' }
  | { source: TensorBytes; merge?: { a: TensorBytes; b: TensorBytes; scale: number } }
);

/**
 * A CLIP vision tower. Parameter names are OpenAI's/open_clip's without `visual.` (`conv1.weight`,
 * `transformer.resblocks.0.attn.in_proj_weight`, `proj`).
 */
export interface ClipVisionArch {
  family: 'clip';
  width: number;
  layers: number;
  heads: number;
  /** Hidden size of the MLP (4 * width for every published CLIP). */
  mlpWidth: number;
  patchSize: number;
  imageSize: number;
  /** Dimension of the projected embedding. */
  embedDim: number;
  activation: 'quick_gelu' | 'gelu';
}

/** A DINOv2. Parameter names are the hub's (`cls_token`, `blocks.0.attn.qkv.weight`, `blocks.0.ls1.gamma`, `norm.weight`). */
export interface Dinov2Arch {
  family: 'dinov2';
  width: number;
  layers: number;
  heads: number;
  /** Hidden size of the MLP, or of each SwiGLU half. */
  mlpWidth: number;
  ffn: 'mlp' | 'swiglu';
  patchSize: number;
  /** Side in pixels that pos_embed was trained for (518 for the published ones). */
  imageSize: number;
  registers: number;
  /**
   * How pos_embed is resampled to another grid: 'offset' = hub without registers (scale factor with 0.1, no antialias), 'size' = Hugging
   * Face Dinov2 (size only, no antialias), 'antialias' = with registers (size, antialias).
   */
  interpolation: 'offset' | 'size' | 'antialias';
}

export type Arch = ClipVisionArch | Dinov2Arch;

/** An encoder as the addon takes it: shape, weights, and the statistics its pixels are normalised with ((x/255 - mean) / std, RGB). */
export interface EncoderSpec {
  arch: Arch;
  weights: LoadStep[];
  mean: [number, number, number];
  std: [number, number, number];
}

export type Precision = 'fp32' | 'bf16';

export interface KernelSpec {
  kind: 'polynomial' | 'gaussian' | 'cosine';
  /** CLIP side. Polynomial: (gamma x.y + c)^3, normalised. Teacher side is fixed: gamma = 1/d', c = 1. */
  gamma: number;
  c: number;
  /** Gaussian bandwidths: exp(-|x - y|^2 / (2 sigma^2)). */
  sigma: number;
  sigmaTeacher: number;
}

/** Result of the loss on plain arrays: loss = mean_ij (K - T)^2 (kernel term alone), its gradients, fp32 inputs. */
export interface KernelLossResult {
  loss: number;
  dgamma: number;
  dc: number;
  dsigma: number;
  /** dL/dX, [n, d]; absent when `gradient` was false. */
  dx?: Float32Array;
  seconds: number;
}

/** What a logging step reports. `loss` = w * kernelLoss + anchorLoss. */
export interface StepMetrics {
  loss: number;
  /** mean_ij (K_clip - K_dino)^2, before w. */
  kernelLoss: number;
  /** mean_i |f(I_i) - f0(I_i)|^2. */
  anchorLoss: number;
  /** mean_i cos(f(I_i), f0(I_i)). */
  cosineToOriginal: number;
  /** L2 norm of the gradient over all trained parameters, the kernel's too, before clipping; of all ranks' together. */
  gradNorm: number;
  gamma: number;
  c: number;
  sigma: number;
  /** Seconds that the device thread spent in this step. */
  seconds: number;
  /** Of them, in exchanges with other ranks: of counts, features and sums; 0 with one rank, null on a GPU, which only queues them. */
  exchangeSeconds: number | null;
  /** Of them, waiting for gradients to be reduced after the last one was computed; 0 with one rank, null on a GPU. */
  reduceSeconds: number | null;
}

export interface TrainerSpec {
  /** Trained, every parameter. The frozen original is a copy of these same weights, made before any restore. */
  student: EncoderSpec;
  /** Null when every row will come from a complete cache: then neither frozen model is in memory. */
  teacher: EncoderSpec | null;
  /** Dimension of the teacher's embedding, also when it is not loaded. */
  teacherDim: number;
  /** Side in pixels of the teacher's input; pixels of another size are resized on the device (antialiased bicubic). */
  teacherSize: number;
  kernel: KernelSpec;
  /** Train gamma and c (or sigma); false keeps them as given. */
  trainKernel: boolean;
  /** Weight of the kernel term. */
  w: number;
  /** 'plain' is the ten-line oracle, 'fused' the tiled kernel. */
  lossBackend: 'fused' | 'plain';
  precision: Precision;
  device: string;
  optimizer: { beta1: number; beta2: number; eps: number; weightDecay: number };
  /** The gradient is scaled down to this L2 norm, as torch.nn.utils.clip_grad_norm_ does; 0: no clipping. */
  maxGradNorm: number;
  batchSize: number;
  /** GradCache micro-batch; equal to batchSize for one pass. */
  microBatch: number;
  activationCheckpointing: boolean;
  /** How many batches the ring holds. */
  slots: number;
  /** Train with all ranks of the process group that this process has opened; `batchSize` and `microBatch` are then one rank's. */
  distributed: boolean;
  /** With several ranks: 'global' is a kernel matrix over the images of all, 'local' the mean over ranks of the losses of a matrix each. */
  kernelScope: 'global' | 'local';
}

/** The two frozen embeddings of every image, in one safetensors file that is mapped and shared: rows are filled as they are met. */
export interface CacheSpec {
  file: string;
  rows: number;
  /** Byte offsets of F32 [rows, d], F32 [rows, d'] and U32 [rows]: the CRC-32 of both embeddings of a row, or 0 where it is absent. */
  original: number;
  teacher: number;
  checksums: number;
}

export interface StepRequest {
  /** Index of the filled slot; free again when the promise settles. */
  slot: number;
  /** Images in the slot (a batch with skipped images is smaller; 0 where other ranks have some). */
  count: number;
  /** Row of each image in the cache; ignored without one. */
  rows: Uint32Array;
  lr: number;
  /** Read the metrics back (a synchronisation on a GPU); else the promise resolves to null. */
  log: boolean;
}

export interface NativeTrainer {
  /** The ring: one view per slot, uint8 [batchSize, 3, S, S], memory owned by the addon. */
  readonly slots: Uint8Array[];
  /** Names and shapes of all trainable tensors: the student's, then `kernel.gamma`, `kernel.c`, `kernel.sigma`. */
  readonly parameters: { name: string; shape: number[] }[];
  openCache(spec: CacheSpec): Promise<void>;
  /**
   * One optimiser step, of all ranks together; its metrics are those of the whole batch. Rejects with code `non_finite`, of the loss or of
   * its gradient, before anything was updated.
   */
  step(request: StepRequest): Promise<StepMetrics | null>;
  /**
   * The losses of a batch, of all ranks together, without an update. `rows` null: the images have no rows in the cache, and the frozen
   * models embed them.
   */
  evaluate(request: {
    slot: number;
    count: number;
    rows: Uint32Array | null;
  }): Promise<Pick<StepMetrics, 'loss' | 'kernelLoss' | 'anchorLoss' | 'cosineToOriginal'>>;
  /** Compute and store the frozen embeddings of a slot's images that the cache lacks; resolves to how many were computed. */
  embed(request: { slot: number; count: number; rows: Uint32Array }): Promise<number>;
  /**
   * Overwrite parameters and AdamW moments from a checkpoint; `step` is the number of updates made so far. With several ranks each calls
   * it; rank 0 reads, the others receive its tensors, and their plan may be empty.
   */
  restore(plan: (LoadStep & { state?: 'value' | 'exp_avg' | 'exp_avg_sq' })[], step: number): Promise<void>;
  /** Header bytes, then each tensor; fsynced. Rejects with code `disk_full` when there is no room. */
  write(file: string, header: Uint8Array, steps: WriteStep[]): Promise<void>;
  /** Waits for what runs, then frees everything. Idempotent. */
  close(): Promise<void>;
}

export interface NativeEncoder {
  readonly dim: number;
  readonly parameters: { name: string; shape: number[] }[];
  /**
   * pixels: uint8 [count, 3, size, size], resized on the device to `resized` a side (antialiased bicubic) when that is given. Resolves to
   * fp32 [count, dim], un-normalised.
   */
  encode(pixels: Uint8Array, count: number, size: number, resized?: number): Promise<Float32Array>;
  write(file: string, header: Uint8Array, steps: WriteStep[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * Where this process stands among all that train together, and where they meet (torchrun's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
 * MASTER_PORT).
 */
export interface ProcessGroupSpec {
  rank: number;
  worldSize: number;
  /** Which of this machine's devices is this process's. */
  localRank: number;
  masterAddr: string;
  masterPort: number;
  backend: 'gloo' | 'nccl';
  /** How long to wait for all ranks to arrive. */
  joinSeconds: number;
  /** How long to wait for the others in any later exchange. */
  timeoutSeconds: number;
  /** A rank that gives no sign of life for so long counts as lost: see `lostRank`. */
  watchdogSeconds: number;
}

/**
 * c10d's process group, one a process. Everything but the two synchronous pairs runs on the device thread, after what was asked for before.
 */
export interface NativeProcessGroup {
  /**
   * Each rank gives a text, all with the same name and in the same order of calls; resolves to all texts in the order of ranks. A barrier
   * too. Rejects with `rank_failed`, naming the ranks whose text did not come.
   */
  gather(name: string, value: string): Promise<string[]>;
  /** This rank wants to stop. The next step tells the others. */
  requestStop(): void;
  /** Whether some rank asked for it: true after the same step on every rank. */
  stopRequested(): boolean;
  /** A rank that has been silent for `watchdogSeconds`, or null. What runs on the device thread may then never return. */
  lostRank(): number | null;
  close(): Promise<void>;
}

export interface ResampleTask {
  /** uint8 [height, width, channels], channels 1 or 3. */
  source: Uint8Array;
  width: number;
  height: number;
  channels: 1 | 3;
  /** Size after Pillow's bicubic resize. */
  resizedWidth: number;
  resizedHeight: number;
  /** Top left corner of the size x size window in the resized image; outside it pixels are 0. */
  left: number;
  top: number;
  size: number;
  /** uint8 [3, size, size] is written here at `offset`. */
  target: Uint8Array;
  offset: number;
}

export interface AddonInfo {
  libtorch: string;
  cudaBuilt: string | null;
  cudaDevices: number;
  cpuCapability: string;
  threads: number;
  /** Bytes of libtorch's large blocks on the CPU: in use, kept for the next request, and the most in use since a handle was closed. */
  memory: { inUse: number; cached: number; peak: number };
}

export interface Addon {
  info(): AddonInfo;
  /**
   * Paths of the files that are mapped now (frozen weights, an embedding cache) and were cut short or, weights, written since: what was
   * computed of them may be wrong. Takes a system call a file.
   */
  changedFiles(): string[];
  /** Threads that libtorch's operators use (default: all cores). */
  setThreads(count: number): Promise<void>;
  /** Runs on the libuv pool; touches no libtorch state. */
  resample(task: ResampleTask): Promise<void>;
  /**
   * The kernel loss alone on X [n, d] and Y [n, dt], on the CPU where no device is named. With counts (the rows of each rank) it is what
   * rank `rank` computes: summands, and dL/dX of its rows. 'fused' on the CPU then exchanges with the other ranks of the open process
   * group, each of which was given all of X and Y.
   */
  kernelLoss(options: {
    x: Float32Array;
    y: Float32Array;
    n: number;
    d: number;
    dt: number;
    kernel: KernelSpec;
    backend: 'fused' | 'plain';
    gradient: boolean;
    counts?: Int32Array;
    rank?: number;
    device?: string;
  }): Promise<KernelLossResult>;
  openEncoder(spec: EncoderSpec & { precision: Precision; device: string }): Promise<NativeEncoder>;
  openTextEncoder(spec: TextEncoderSpec): Promise<NativeTextEncoder>;
  openTrainer(spec: TrainerSpec): Promise<NativeTrainer>;
  /**
   * Joins the other ranks; rank 0 hosts the store. Rejects with `port_in_use` (rank 0), `unreachable_master`, or `rank_failed` naming the
   * ranks that did not arrive.
   */
  openProcessGroup(spec: ProcessGroupSpec): Promise<NativeProcessGroup>;
  openLoraTrainer(spec: LoraTrainerSpec): Promise<NativeLoraTrainer>;
  openLlava(spec: LlavaSpec): Promise<NativeLlava>;
  /** A file from tensors of other files (`source` steps alone), one tensor in memory at a time. */
  writeTensors(file: string, header: Uint8Array, steps: WriteStep[]): Promise<void>;
  /** Quantises and dequantises as `basePrecision: 'nf4'` does, with double quantisation; a whole number of blocks of 64. */
  nf4(values: Float32Array): Promise<Nf4Result>;
  /**
   * Ranks by scores q . g + bias in tiles, never holding all of them, both ways from one sweep. Rejects with `non_finite`, naming the row
   * that holds NaN or infinity.
   */
  topK(spec: TopKSpec): Promise<{ ofQueries: Ranking; ofGallery: Ranking | null }>;
  /** Rejects with `non_finite`, and `bad_label` naming the row of a label that is no class; so does the other probe. */
  openLogisticRegression(spec: LogisticRegressionSpec): Promise<NativeLogisticRegression>;
  openAdamWProbe(spec: AdamWProbeSpec): Promise<NativeAdamWProbe>;
}
