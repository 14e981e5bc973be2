import { formatBytes, formatDuration } from '../config/units.js';
import { KueaError } from '../errors.js';
import { costOf, parameterCount } from '../models/registry.js';
import type { Arch } from '../native/addon.js';
import { planWarmup } from '../run/schedule.js';
import type { AlignConfig } from './options.js';

/** Bytes, each of what a rank holds at a time. */
export interface MemoryPlan {
  /** fp32 master weights, gradients and AdamW's two moments. */
  student: number;
  /** bf16 copies of the student's linear maps. */
  copies: number;
  /** What one micro-batch keeps for its backward. */
  activations: number;
  /** Frozen student and teacher; 0 once every embedding is in the cache. */
  frozen: number;
  /** The ring of batches. */
  batches: number;
  total: number;
}

/** What a run will do; everything that --dry-run prints. */
export interface AlignPlan {
  config: AlignConfig;
  /** What somebody should know before it runs, a sentence each. */
  warnings: string[];
  /** Where this process computes: cpu or cuda:N. */
  device: string;
  /** Processes that train together, and the images of an update that the first of them has: the others have as many or one less. */
  ranks: number;
  rankBatchSize: number;
  images: number;
  /** Images that give the validation loss; 0 for none. */
  validation: number;
  stepsPerEpoch: number;
  steps: number;
  /** Of those, the linear warm-up; less than was asked for when that would not end before the run, which `warnings` then says. */
  warmup: number;
  epochs: number;
  /** Trained: the student's vision tower, and gamma and c (or sigma) when they are trained. */
  studentParameters: number;
  teacherParameters: number;
  teacherSize: number;
  /** Multiply-adds counted twice, of one image: student forward and backward, and the two frozen forwards. */
  trainFlops: number;
  frozenFlops: number;
  memory: MemoryPlan;
  /** On disk when every image is in it; 0 without a cache. */
  cacheBytes: number;
}

/** Batches being filled while one is in work; and further ones for validation. */
export const trainingSlots = 3;
export const validationSlots = 2;

/** Side in pixels of the teacher's input: as asked, else the student's up to 224, as published. */
export function teacherSizeOf(config: AlignConfig, student: Arch): number {
  return config.teacherSize ?? Math.min(student.imageSize, 224);
}

interface Known {
  student: Arch;
  teacher: Arch;
  images: number;
  /** Held out for the validation loss. */
  validation: number;
  /** Images of the data in all, of which each has a row in the cache. */
  rows: number;
  ranks: number;
  device: string;
}

/** Throws KueaError `bad_option` when there are more ranks than images in a batch, and for a run of no updates. */
export function planAlignment(config: AlignConfig, { student, teacher, images, validation, rows, ranks, device }: Known): AlignPlan {
  if (ranks > config.batchSize)
    throw new KueaError(
      'bad_option',
      `expected an image for each of the ${ranks} ranks, found a batch size of ${config.batchSize}: raise it or start fewer ranks`,
    );
  const rankBatchSize = Math.ceil(config.batchSize / ranks);
  const stepsPerEpoch = Math.floor(images / config.batchSize);
  const steps = config.steps ?? Math.round((config.epochs ?? 2) * stepsPerEpoch);
  const { warmup, warning } = planWarmup(config, steps);
  const teacherSize = teacherSizeOf(config, student);
  const studentParameters = parameterCount(student);
  const teacherParameters = parameterCount(teacher);
  const micro = Math.min(config.microBatch ?? rankBatchSize, rankBatchSize);
  const [studentCost, teacherCost] = [costOf(student), costOf(teacher)];
  const forward = studentCost.forwardFlops(student, student.imageSize);

  const parts = {
    student: studentParameters * 16,
    copies: config.precision === 'bf16' ? studentParameters * 2 : 0,
    activations: micro * studentCost.keptBytes(student, config.precision, config.activationCheckpointing),
    frozen: (studentParameters + teacherParameters) * (config.precision === 'bf16' ? 6 : 4),
    batches: (trainingSlots + (validation > 0 ? validationSlots : 0)) * rankBatchSize * 3 * student.imageSize ** 2,
  };
  return {
    config,
    warnings: warning === undefined ? [] : [warning],
    device,
    ranks,
    rankBatchSize,
    images,
    validation,
    stepsPerEpoch,
    steps,
    warmup,
    epochs: steps / stepsPerEpoch,
    studentParameters,
    teacherParameters,
    teacherSize,
    trainFlops: forward * (micro < rankBatchSize ? 4 : 3),
    frozenFlops: forward + teacherCost.forwardFlops(teacher, teacherSize),
    memory: { ...parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0) },
    // All of the data has its rows, those that --fraction leaves out too.
    cacheBytes: config.cache === 'off' ? 0 : rows * (4 * (studentCost.dim(student) + teacherCost.dim(teacher)) + 1),
  };
}

function rankShare({ config, ranks, rankBatchSize }: AlignPlan): string {
  return config.batchSize % ranks === 0 ? String(rankBatchSize) : `${rankBatchSize - 1} or ${rankBatchSize}`;
}

const validationText = ({ config, validation }: AlignPlan) =>
  validation > 0 ? `, and ${validation.toLocaleString('en-US')} ${config.valData ? `from ${config.valData} ` : ''}to validate on` : '';

/** The plan for people, a line each. `flopsPerSecond` of the machine (measured by the caller) gives the estimate. */
export function formatPlan(plan: AlignPlan, flopsPerSecond: number): string {
  const { config, memory } = plan;
  const number = (n: number) => n.toLocaleString('en-US');
  const seen = plan.steps * config.batchSize;
  const fresh = config.cache === 'off' ? seen : Math.min(plan.images, seen);
  const seconds = (seen * plan.trainFlops + fresh * plan.frozenFlops) / flopsPerSecond;
  const kernel = {
    polynomial: `polynomial, gamma ${config.gamma}, c ${config.coef0}`,
    gaussian: `Gaussian, sigma ${config.sigma} and ${config.sigmaTeacher}`,
    cosine: 'cosine',
  }[config.kernel];
  const rows: [string, string][] = [
    ['student', `${config.student} (${number(plan.studentParameters)} parameters, all trained)`],
    ['teacher', `${config.teacher} (${number(plan.teacherParameters)} parameters, at ${plan.teacherSize} px)`],
    ['images', `${number(plan.images)} from ${config.data}${validationText(plan)}`],
    [
      'steps',
      `${number(plan.steps)} of ${config.batchSize} images (${number(plan.stepsPerEpoch)} an epoch, ${plan.epochs.toFixed(2)} epochs)`,
    ],
    ...(plan.ranks > 1 ? [['ranks', `${plan.ranks}, ${rankShare(plan)} images each`] as [string, string]] : []),
    ['loss', `w ${config.w}; kernel ${kernel}${config.fitKernel ? ', fitted first' : ''}, ${config.kernelParams}`],
    ['optimiser', `AdamW, lr ${config.lr}, decay ${config.weightDecay}, warm-up ${number(plan.warmup)}, ${config.scheduler}`],
    [
      'precision',
      `${config.precision} on ${plan.device}` +
        (config.microBatch ? `, micro-batch ${config.microBatch}` : '') +
        (config.activationCheckpointing ? ', activation checkpointing' : ''),
    ],
    [
      'memory',
      `${formatBytes(memory.total)}${plan.ranks > 1 ? ' a rank' : ''}: weights, gradients and moments ` +
        `${formatBytes(memory.student + memory.copies)}, activations ${formatBytes(memory.activations)}, frozen models ` +
        `${formatBytes(memory.frozen)}, batches ${formatBytes(memory.batches)}`,
    ],
    ['cache', config.cache === 'off' ? 'off' : `${formatBytes(plan.cacheBytes)} on disk`],
    [
      'work',
      `${(plan.trainFlops / 1e9).toFixed(1)} GFLOP an image, and ${(plan.frozenFlops / 1e9).toFixed(1)} for its frozen ` +
        `embeddings${config.cache === 'off' ? ', every time' : ', once'}`,
    ],
    ['estimate', `${formatDuration(seconds)} at ${(flopsPerSecond / 1e9).toFixed(0)} GFLOP/s`],
    ['run', config.out],
  ];
  return rows.map(([name, value]) => `${name.padEnd(10)} ${value}`).join('\n');
}
