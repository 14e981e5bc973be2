import { join } from 'node:path';
import { type FilledSlot, Loader } from '../data/images/loader.js';
import { SkippedImages } from '../data/skipped.js';
import { fromRank0, gather } from '../distributed/ranks.js';
import { type CacheKey, openCache, presentRows, syncCache } from '../embed/cache.js';
import { replaceWhole } from '../files/output.js';
import { type ExportLayout, exportWeights } from '../models/export.js';
import type { CacheSpec, KernelSpec, NativeTrainer, StepMetrics } from '../native/addon.js';
import { loadAddon } from '../native/load.js';
import { Meter } from '../run/meter.js';
import { learningRate, type Schedule } from '../run/schedule.js';
import { anyStopped, orStopped, type Session } from '../run/session.js';
import { restoreTrainerState, writeTrainerState } from '../run/trainer-state.js';
import type { Batches, Judge, Task } from '../run/training.js';
import type { AlignEvent, AlignLine, AlignValidation } from './events.js';
import { fitKernel } from './fit-kernel.js';
import { type AlignInputs, encoderSpecs, type HeldOut, preprocessingOf } from './inputs.js';
import { openJudge } from './judge.js';
import type { AlignConfig } from './options.js';
import { teacherSizeOf, trainingSlots, validationSlots } from './plan.js';
import { sampleEmbeddings } from './sample-embeddings.js';

type AlignSession = Session<AlignConfig, AlignEvent>;
type AlignTask = Task<FilledSlot, StepMetrics, AlignLine>;

/** Opens the cache and the trainer, having fitted the kernel where that is asked for; null when the signal stopped it meanwhile. */
export async function openTask(session: AlignSession, inputs: AlignInputs): Promise<AlignTask | null> {
  const { config, checkpoint, device, folder, ranks, signal } = session;
  const { student, teacher, sampler, heldOut } = inputs;
  const cache = config.cache === 'off' ? null : await openEmbeddingCache(session, inputs, config.cache ?? folder.file('cache'));
  // A checkpoint holds the kernel's parameters; the fit is for the first start.
  const kernel = checkpoint
    ? givenKernel(config)
    : await fromRank0(ranks, 'kernel', () => orStopped(signal, startingKernel(session, inputs)));
  if (!kernel) return null;
  const judge = await openJudge(session);
  const specs = encoderSpecs(config, inputs);
  session.emit({ type: 'phase', name: 'loading models' });
  const trainer = await loadAddon().openTrainer({
    student: specs.student,
    teacher: cache?.complete && heldOut?.isOfData !== false ? null : specs.teacher,
    teacherDim: teacher.dim,
    teacherSize: teacherSizeOf(config, student.arch),
    kernel,
    trainKernel: config.kernelParams === 'trainable',
    w: config.w,
    lossBackend: config.lossBackend,
    precision: config.precision,
    device,
    optimizer: { beta1: config.beta1, beta2: config.beta2, eps: config.eps, weightDecay: config.weightDecay },
    maxGradNorm: config.maxGradNorm,
    batchSize: sampler.rankBatchSize,
    microBatch: config.microBatch ?? sampler.rankBatchSize,
    activationCheckpointing: config.activationCheckpointing,
    slots: trainingSlots + (heldOut ? validationSlots : 0),
    distributed: ranks.group !== null,
    kernelScope: config.protocol === 'kuea-ddp' ? 'local' : 'global',
  });
  try {
    if (cache) await trainer.openCache(cache);
    return taskOf(session, inputs, trainer, cache, judge);
  } catch (error) {
    await trainer.close();
    throw error;
  }
}

function taskOf(
  session: AlignSession,
  inputs: AlignInputs,
  trainer: NativeTrainer,
  cache: CacheSpec | null,
  judge: Judge | null,
): AlignTask {
  const { config, folder, ranks } = session;
  const { source, heldOut, sampler, plan, student } = inputs;
  const meter = new Meter<'images'>();
  const { lr, scheduler, protocol } = config;
  const schedule: Schedule = { lr, scheduler, warmup: plan.warmup, first: protocol === 'kuea-release' ? 'peak' : 'step' };
  return {
    steps: plan.steps,
    judge,
    restore: ({ path, step }) => (ranks.rank === 0 ? restoreTrainerState(trainer, path, step) : trainer.restore([], step)),
    batches: (startStep, skipped): Batches<FilledSlot> => {
      const loader = new Loader({
        source,
        sampler,
        slots: trainer.slots,
        slotNumbers: Array.from({ length: trainingSlots }, (_, i) => i),
        preprocessing: preprocessingOf(config, inputs),
        startStep,
        endStep: plan.steps,
        skipped,
        mayBeEmpty: ranks.group !== null,
        ...(config.workers ? { concurrency: config.workers } : {}),
      });
      return { [Symbol.asyncIterator]: () => loader[Symbol.asyncIterator](), release: ({ slot }) => loader.release(slot) };
    },
    learningRate: (step) => learningRate(schedule, step, plan.steps),
    step: ({ slot, count, rows }, lr, log) => {
      // The other ranks have as many as the batch leaves them.
      meter.add('images', count + config.batchSize - sampler.rankBatchSize);
      return trainer.step({ slot, count, rows, lr, log });
    },
    line: (step, batch, lr, { loss, kernelLoss, anchorLoss, cosineToOriginal, gamma, c, sigma, gradNorm, seconds }) => ({
      step,
      epoch: batch.epoch,
      lr,
      loss,
      kernel_loss: kernelLoss,
      anchor_loss: anchorLoss,
      cosine_to_original: cosineToOriginal,
      grad_norm: gradNorm,
      ...{ polynomial: { gamma, c }, gaussian: { sigma }, cosine: {} }[config.kernel],
      images_per_second: meter.read()('images'),
      decode_wait_ms: batch.waitMs,
      decode_ms: batch.decodeMs,
      seconds,
    }),
    validate: async (step) => (heldOut ? validate(step, heldOut, trainer, session, inputs) : null),
    // The cache of a machine is one file, whichever of its ranks has stored a row.
    collect: async () => (cache && ranks.localRank === 0 ? syncCache(cache) : undefined),
    write: (path) => writeTrainerState(trainer, path, student),
    export: async function* () {
      for (const layout of config.exportLayouts) {
        const path = folder.file('export', exportNames[layout]);
        // A run that is resumed after its end exports the same weights again.
        await exportWeights(student, layout, path, trainer.write, replaceWhole);
        yield { layout, path };
      }
    },
    close: () => trainer.close(),
  };
}

/** Mean losses over the batches that are held out; null when the signal stopped it, on any rank. */
async function validate(
  step: number,
  { source, sampler, isOfData }: HeldOut,
  trainer: NativeTrainer,
  { config, ranks, signal }: AlignSession,
  inputs: AlignInputs,
): Promise<AlignValidation | null> {
  const loader = new Loader({
    source,
    sampler,
    slots: trainer.slots,
    slotNumbers: Array.from({ length: validationSlots }, (_, i) => trainingSlots + i),
    preprocessing: preprocessingOf(config, inputs),
    startStep: 0,
    endStep: sampler.stepsPerEpoch,
    skipped: SkippedImages.inMemory(config.maxSkipped),
    mayBeEmpty: ranks.group !== null,
  });
  const sums = { loss: 0, kernelLoss: 0, anchorLoss: 0, cosineToOriginal: 0 };
  for await (const { slot, count, rows } of loader) {
    // Every rank takes part in every batch: they stop together.
    if (await anyStopped({ ranks, signal })) return null;
    const found = await trainer.evaluate({ slot, count, rows: isOfData ? rows : null });
    loader.release(slot);
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += found[key] / sampler.stepsPerEpoch;
  }
  return {
    step,
    val_loss: sums.loss,
    val_kernel_loss: sums.kernelLoss,
    val_anchor_loss: sums.anchorLoss,
    val_cosine_to_original: sums.cosineToOriginal,
    val_samples: sampler.stepsPerEpoch * Math.min(config.batchSize, sampler.images),
  };
}

const exportNames: Record<ExportLayout, string> = {
  hf: 'hf',
  open_clip: 'open_clip',
  openai: 'openai.safetensors',
  visual: 'visual.safetensors',
};

/**
 * The cache, filled by all ranks of this machine with the images that they meet. It is mapped into memory, and maps of one file on two
 * machines do not see each other: each further machine has a folder of its own.
 */
async function openEmbeddingCache(
  { config, ranks, emit }: AlignSession,
  inputs: AlignInputs,
  parent: string,
): Promise<CacheSpec & { complete: boolean }> {
  const { student, teacher, source, sampler, heldOut, fingerprints } = inputs;
  const folder = ranks.node === 0 ? parent : join(parent, `node-${ranks.node}`);
  const specs = encoderSpecs(config, inputs);
  const key: CacheKey = {
    ...((await fingerprints()) as Pick<CacheKey, 'student' | 'teacher' | 'data'>),
    preprocessing: JSON.stringify([
      preprocessingOf(config, inputs),
      specs.student.mean,
      specs.student.std,
      specs.teacher.mean,
      specs.teacher.std,
      teacherSizeOf(config, student.arch),
    ]),
    precision: config.precision,
  };
  const open = () => openCache(folder, key, source.length, [student.dim, teacher.dim]);
  // One rank of the machine makes the file, before the others look for it.
  const made = ranks.localRank === 0 ? await open() : null;
  await gather(ranks, 'cache', true);
  const { spec, rebuilt } = made ?? (await open());
  const used = [...sampler.members, ...(heldOut?.isOfData ? heldOut.sampler.members : [])];
  const present = await presentRows(spec, used);
  emit({ type: 'cache', folder, present, images: used.length, ...(rebuilt ? { rebuilt } : {}) });
  return { ...spec, complete: present === used.length };
}

const givenKernel = ({ kernel, gamma, coef0, sigma, sigmaTeacher }: AlignConfig): KernelSpec => ({
  kind: kernel,
  gamma,
  c: coef0,
  sigma,
  sigmaTeacher,
});

/** The kernel to start from: as given, or fitted on a sample of images. */
async function startingKernel({ config, device, emit, signal }: AlignSession, inputs: AlignInputs): Promise<KernelSpec> {
  const kernel = givenKernel(config);
  if (!config.fitKernel) return kernel;
  emit({ type: 'phase', name: 'fitting the kernel' });
  const addon = loadAddon();
  const models = { ...encoderSpecs(config, inputs), teacherSize: teacherSizeOf(config, inputs.student.arch), device };
  const data = {
    source: inputs.source,
    preprocessing: preprocessingOf(config, inputs),
    count: config.fitImages,
    seed: config.seed,
    maxSkipped: config.maxSkipped,
  };
  const sample = await sampleEmbeddings(addon, models, data, signal);
  const { kernel: fitted, before, after } = await fitKernel(addon, sample, kernel);
  emit({ type: 'fit', images: sample.n, gamma: fitted.gamma, c: fitted.c, sigma: fitted.sigma, before, after });
  return fitted;
}
