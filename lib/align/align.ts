import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type FilledSlot, Loader } from '../data/images/loader.js';
import { Sampler } from '../data/images/sampler.js';
import type { Source } from '../data/images/source.js';
import { openSource } from '../data/images/sources.js';
import { agree } from '../distributed/agree.js';
import { agreedStop } from '../distributed/agreed-stop.js';
import { fromRank0, gather, oneRank, type Ranks } from '../distributed/ranks.js';
import { type CacheKey, openCache, presentRows } from '../embed/cache.js';
import { exportWeights } from '../models/clip/export.js';
import { openWeights, type WeightsFile } from '../models/open.js';
import { imagenetStatistics } from '../models/preprocessing.js';
import type { Addon, CacheSpec, ClipVisionArch, Dinov2Arch, EncoderSpec, KernelSpec, NativeTrainer, StepMetrics } from '../native/addon.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import { packageVersion } from '../package.js';
import { latestCheckpoint, saveCheckpoint } from '../run/checkpoints.js';
import { train } from '../run/loop.js';
import { MetricsFile, type MetricsLine } from '../run/metrics.js';
import { type Run, startRun } from '../run/run.js';
import { RunFolder } from '../run/run-folder.js';
import { learningRate } from '../run/schedule.js';
import { restoreTrainerState, writeTrainerState } from '../run/trainer-state.js';
import type { AlignEvent, AlignResult } from './events.js';
import { fitKernel } from './fit-kernel.js';
import { type AlignConfig, type AlignOptions, freeAlignKeys, resolveAlignConfig } from './options.js';
import { type AlignPlan, planAlignment, slots, teacherSizeOf } from './plan.js';
import { sampleEmbeddings } from './sample-embeddings.js';

export type AlignRun = Run<AlignEvent, AlignResult>;

/**
 * Aligns a CLIP vision encoder to a DINOv2 on images alone (the method of KUEA, ICML 2025): fine-tunes it until its kernel matrix matches
 * the teacher's while each embedding stays near its old place. Options are those of `kuea-align --help` in camelCase.
 *
 * When `signal` is aborted the step that runs is finished and saved, and the result says `interrupted`. Rejects with a KueaError; a
 * rejected run leaves its last checkpoint, and `resume: true` goes on from it.
 *
 * With `ranks` this is one of several processes that train the same model, each calling it with the same options. The batch is cut into
 * their parts; rank 0 alone writes into the run's folder. An abort on one rank stops all of them after the same step.
 */
export function align(options: AlignOptions, { signal, ranks = oneRank }: { signal?: AbortSignal; ranks?: Ranks } = {}): AlignRun {
  const config = resolveAlignConfig(options);
  return startRun((emit) => run(config, emit, signal, ranks));
}

type Emit = (event: AlignEvent) => void;

/** What a run works with, once its options are understood. */
interface Job {
  config: AlignConfig;
  student: WeightsFile & { arch: ClipVisionArch };
  teacher: WeightsFile & { arch: Dinov2Arch };
  source: Source;
  sampler: Sampler;
  plan: AlignPlan;
  emit: Emit;
  signal: AbortSignal | undefined;
  ranks: Ranks;
}

async function run(config: AlignConfig, emit: Emit, signal: AbortSignal | undefined, ranks: Ranks): Promise<AlignResult> {
  const student = (await openWeights(config.student, { family: 'clip', activation: config.activation })) as Job['student'];
  const teacher = (await openWeights(config.teacher, { family: 'dinov2' })) as Job['teacher'];
  const source = await openSource(config.data);
  try {
    const { batchSize, seed, shuffle, fraction } = config;
    const { rank, worldSize } = ranks;
    const sampler = new Sampler({ length: source.length, batchSize, seed, shuffle, fraction, rank, worldSize });
    const plan = planAlignment(config, { student: student.arch, teacher: teacher.arch, images: sampler.images, ranks: worldSize });
    emit({ type: 'start', plan });
    if (config.dryRun) return { steps: 0, interrupted: false, skipped: 0, exports: [] };

    if (ranks.group) await agree(ranks, await alike({ config, student, teacher, source }));
    const folder = await RunFolder.open(config, freeAlignKeys, ranks);
    try {
      return await alignInto(folder, { config, student, teacher, source, sampler, plan, emit, signal, ranks });
    } finally {
      await folder.close();
    }
  } finally {
    await source.close();
  }
}

/** What all ranks must have alike. Paths may differ between machines; what is behind them may not. */
async function alike({
  config,
  student,
  teacher,
  source,
}: Pick<Job, 'config' | 'student' | 'teacher' | 'source'>): Promise<Record<string, unknown>> {
  const options = Object.entries(config).filter(
    ([key]) => !['student', 'teacher', 'data', 'out', 'cache', 'workers', 'threads'].includes(key),
  );
  const fingerprints = {
    studentWeights: await student.fingerprint(),
    teacherWeights: await teacher.fingerprint(),
    dataFingerprint: await source.fingerprint(),
  };
  return { kuea: packageVersion(), libtorch: loadAddon().info().libtorch, ...fingerprints, ...Object.fromEntries(options) };
}

function encoderSpecs({ config, student, teacher }: Job): { student: EncoderSpec; teacher: EncoderSpec } {
  const spec = ({ arch, plan, mean, std }: WeightsFile): EncoderSpec => ({ arch, weights: plan, mean, std });
  // The published run normalises the teacher's pixels with CLIP's statistics.
  const statistics = config.teacherStatistics === 'clip' ? { mean: student.mean, std: student.std } : imagenetStatistics;
  return { student: spec(student), teacher: { ...spec(teacher), ...statistics } };
}

/** As the published loop prepares its images: open_clip's evaluation transform at the student's size. */
const preprocessingOf = ({ config, student }: Job) => ({
  resize: student.arch.imageSize,
  crop: student.arch.imageSize,
  mode: config.resample,
});

/**
 * The cache, filled by all ranks of this machine with the images that they meet. It is mapped into memory, and maps of one file on two
 * machines do not see each other: each further machine has a folder of its own.
 */
async function openEmbeddingCache(job: Job, parent: string): Promise<CacheSpec & { complete: boolean }> {
  const { config, student, teacher, source, sampler, emit, ranks } = job;
  const folder = ranks.node === 0 ? parent : join(parent, `node-${ranks.node}`);
  const specs = encoderSpecs(job);
  const key: CacheKey = {
    student: await student.fingerprint(),
    teacher: await teacher.fingerprint(),
    preprocessing: JSON.stringify([
      preprocessingOf(job),
      specs.student.mean,
      specs.student.std,
      specs.teacher.mean,
      specs.teacher.std,
      teacherSizeOf(config, student.arch),
    ]),
    data: await source.fingerprint(),
    precision: config.precision,
  };
  const open = () => openCache(folder, key, source.length, [student.arch.embedDim, teacher.arch.width]);
  // One rank of the machine makes the file, before the others look for it.
  const made = ranks.localRank === 0 ? await open() : null;
  await gather(ranks, 'cache', true);
  const { spec, rebuilt } = made ?? (await open());
  const present = await presentRows(spec, sampler.members);
  emit({ type: 'cache', folder, present, images: sampler.images, ...(rebuilt ? { rebuilt } : {}) });
  return { ...spec, complete: present === sampler.images };
}

/** The device of this process. */
const deviceOf = ({ config, ranks }: Job) => resolveDevice(config.device, loadAddon().info(), ranks.localRank);

/** The kernel to start from: as given, or fitted on a sample of images. */
async function startingKernel(addon: Addon, job: Job): Promise<KernelSpec> {
  const { config, student, source, emit, signal } = job;
  const kernel: KernelSpec = {
    kind: config.kernel,
    gamma: config.gamma,
    c: config.coef0,
    sigma: config.sigma,
    sigmaTeacher: config.sigmaTeacher,
  };
  if (!config.fitKernel) return kernel;
  const models = { ...encoderSpecs(job), teacherSize: teacherSizeOf(config, student.arch), device: deviceOf(job) };
  const data = { source, preprocessing: preprocessingOf(job), count: config.fitImages, seed: config.seed, maxSkipped: config.maxSkipped };
  const sample = await sampleEmbeddings(addon, models, data, signal);
  const { kernel: fitted, before, after } = await fitKernel(addon, sample, kernel);
  emit({ type: 'fit', images: sample.n, gamma: fitted.gamma, c: fitted.c, sigma: fitted.sigma, before, after });
  return fitted;
}

async function alignInto(folder: RunFolder, job: Job): Promise<AlignResult> {
  const { config, student, teacher, sampler, plan, emit, ranks } = job;
  const started = performance.now();
  const addon = loadAddon();
  const device = deviceOf(job);
  if (config.threads) await addon.setThreads(config.threads);
  const cache = config.cache === 'off' ? null : await openEmbeddingCache(job, config.cache ?? folder.file('cache'));
  const checkpoint = await fromRank0(ranks, 'checkpoint', async () => (config.resume ? latestCheckpoint(folder) : null));
  // A checkpoint holds the kernel's parameters; the fit is for the first start.
  const kernel = checkpoint
    ? { kind: config.kernel, gamma: config.gamma, c: config.coef0, sigma: config.sigma, sigmaTeacher: config.sigmaTeacher }
    : await fromRank0(ranks, 'kernel', () => startingKernel(addon, job));
  const specs = encoderSpecs(job);
  const trainer = await addon.openTrainer({
    student: specs.student,
    teacher: cache?.complete ? null : specs.teacher,
    teacherDim: teacher.arch.width,
    teacherSize: teacherSizeOf(config, student.arch),
    kernel,
    trainKernel: config.kernelParams === 'trainable',
    w: config.w,
    lossBackend: config.lossBackend,
    precision: config.precision,
    device,
    optimizer: { beta1: config.beta1, beta2: config.beta2, eps: config.eps, weightDecay: config.weightDecay },
    maxGradNorm: 0,
    batchSize: sampler.rankBatchSize,
    microBatch: config.microBatch ?? sampler.rankBatchSize,
    activationCheckpointing: config.activationCheckpointing,
    slots,
    distributed: ranks.group !== null,
    kernelScope: config.protocol === 'kuea-ddp' ? 'local' : 'global',
  });
  try {
    if (cache) await trainer.openCache(cache);
    if (checkpoint) {
      // Rank 0 reads it for all.
      await (ranks.rank === 0 ? restoreTrainerState(trainer, checkpoint.path, checkpoint.step) : trainer.restore([], checkpoint.step));
      emit({ type: 'resume', step: checkpoint.step, path: checkpoint.path });
    }
    const trained = await trainFrom(checkpoint?.step ?? 0, trainer, folder, job);
    const interrupted = trained.steps < plan.steps;
    const exports = interrupted || ranks.rank > 0 ? [] : await exportAll(trainer, folder, job);
    emit({ type: 'done', steps: trained.steps, interrupted, skipped: trained.skipped, seconds: (performance.now() - started) / 1000 });
    return { ...trained, interrupted, exports };
  } finally {
    await trainer.close();
  }
}

async function trainFrom(
  start: number,
  trainer: NativeTrainer,
  folder: RunFolder,
  job: Job,
): Promise<Pick<AlignResult, 'steps' | 'skipped' | 'metrics'>> {
  const { config, source, sampler, plan, emit, signal, ranks } = job;
  const { group } = ranks;
  const { steps } = plan;
  const writes = ranks.rank === 0;
  const metricsFile = writes ? await MetricsFile.open<MetricsLine>(folder.file('metrics.jsonl'), start) : null;
  const loader = new Loader({
    source,
    sampler,
    slots: trainer.slots,
    preprocessing: preprocessingOf(job),
    startStep: start,
    endStep: steps,
    maxSkipped: config.maxSkipped,
    mayBeEmpty: group !== null,
    ...(writes ? { skippedFile: folder.file('skipped.jsonl') } : {}),
    ...(config.workers ? { concurrency: config.workers } : {}),
  });
  const stop = agreedStop(ranks, signal);
  let last: MetricsLine | undefined;
  let images = 0;
  let since = performance.now();
  try {
    const done = await train<FilledSlot, StepMetrics>({
      batches: loader,
      start,
      steps,
      logEvery: config.logEvery,
      saveEvery: config.saveEvery,
      learningRate: (step) => learningRate(config, step, steps),
      step: async ({ slot, count, rows, step }, lr, log) => {
        ranks.atStep(step + 1);
        images += count + config.batchSize - sampler.rankBatchSize;
        const metrics = await trainer.step({ slot, count, rows, lr, log });
        stop.afterStep();
        return metrics;
      },
      release: ({ slot }) => loader.release(slot),
      onStep: async (step, batch, lr, { loss, kernelLoss, anchorLoss, cosineToOriginal, gamma, c, sigma, seconds }) => {
        const now = performance.now();
        last = {
          step,
          epoch: batch.epoch,
          lr,
          loss,
          kernel_loss: kernelLoss,
          anchor_loss: anchorLoss,
          cosine_to_original: cosineToOriginal,
          gamma,
          c,
          sigma,
          images_per_second: (images * 1000) / (now - since),
          decode_wait_ms: batch.waitMs,
          decode_ms: batch.decodeMs,
          seconds,
        };
        images = 0;
        since = now;
        await metricsFile?.write(last);
        emit({ type: 'step', steps, ...last });
      },
      save: async (step) => {
        // The others' undecodable images are listed with rank 0's.
        const skipped = await gather(ranks, 'skipped', loader.takeSkipped());
        if (!writes) return;
        await loader.addSkipped(skipped.flat());
        const saved = await saveCheckpoint(folder, step, packageVersion(), config.keepCheckpoints, (path) =>
          writeTrainerState(trainer, path),
        );
        emit({ type: 'checkpoint', ...saved });
      },
      signal: stop.signal,
    });
    return { steps: done, skipped: loader.skippedCount, ...(last ? { metrics: last } : {}) };
  } finally {
    stop.end();
    await metricsFile?.close();
  }
}

async function exportAll(trainer: NativeTrainer, folder: RunFolder, { config, student, emit }: Job): Promise<AlignResult['exports']> {
  const names = { hf: 'hf', open_clip: 'open_clip', openai: 'openai.safetensors', visual: 'visual.safetensors' };
  const exports: AlignResult['exports'] = [];
  for (const layout of config.exportLayouts) {
    const path = folder.file('export', names[layout]);
    // A run that is resumed after its end exports the same weights again.
    await rm(path, { recursive: true, force: true });
    await exportWeights(student, layout, path, trainer.write);
    exports.push({ layout, path });
    emit({ type: 'export', layout, path });
  }
  return exports;
}
