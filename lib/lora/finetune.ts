import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MicroBatchLoader, type Update } from '../data/conversations/loader.js';
import { openSamples } from '../data/conversations/open.js';
import { imagesPerSlot } from '../data/conversations/packing.js';
import { split, UpdateSampler } from '../data/conversations/sampler.js';
import type { SampleSource } from '../data/conversations/source.js';
import { agree } from '../distributed/agree.js';
import { agreedStop } from '../distributed/agreed-stop.js';
import { fromRank0, gather, oneRank, type Ranks } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { openAdapter, planAdapter, planProjector } from '../models/llava/adapter.js';
import { type LlavaWeights, openLlava } from '../models/llava/open.js';
import { writeAdapter } from '../models/llava/write-adapter.js';
import type { LoraMetrics, NativeLoraTrainer } from '../native/addon.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import { packageVersion } from '../package.js';
import { type Checkpoint, latestCheckpoint, saveCheckpoint } from '../run/checkpoints.js';
import { claimInputs } from '../run/inputs.js';
import { train } from '../run/loop.js';
import { MetricsFile } from '../run/metrics.js';
import { type Run, startRun } from '../run/run.js';
import { RunFolder } from '../run/run-folder.js';
import { learningRate, type Schedule } from '../run/schedule.js';
import { restoreWithMoments, writeMoments } from '../run/trainer-state.js';
import { openTokenizer } from '../text/tokenizer.js';
import { planWithoutWeights } from './dry-run.js';
import type { LoraEvent, LoraMetricsLine, LoraResult, ValidationLine } from './events.js';
import { freeLoraKeys, type LoraConfig, type LoraOptions, resolveLoraConfig } from './options.js';
import { adapterShape, cardBytes, type LoraPlan, planLora, trainingSlots, validationSlots } from './plan.js';

export type LoraRun = Run<LoraEvent, LoraResult>;

/**
 * Fine-tunes a LLaVA-1.5 by LoRA: a low-rank adapter on every linear map of its language model, and its projector with it. Options are
 * those of `kuea-lora --help` in camelCase.
 *
 * When `signal` is aborted the update that runs is finished and saved, and the result says `interrupted`. Rejects with a KueaError; a
 * rejected run leaves its last checkpoint, and `resume: true` goes on from it.
 *
 * With `ranks` this is one of several processes that train the same adapter, each calling it with the same options: each holds the base,
 * takes its micro-batches of every update, and keeps its part of the moments. Rank 0 alone writes into the run's folder. An abort on one
 * rank stops all of them after the same update.
 */
export function finetune(options: LoraOptions, { signal, ranks = oneRank }: { signal?: AbortSignal; ranks?: Ranks } = {}): LoraRun {
  const warnings: string[] = [];
  const config = resolveLoraConfig(options, { ranks: ranks.worldSize, warn: (message) => warnings.push(message) });
  return startRun((emit) => {
    for (const message of warnings) emit({ type: 'warning', message });
    return run(config, emit, signal, ranks).catch((error: unknown): LoraResult => {
      // Stopped while it looked at its data: nothing had begun.
      if (signal?.aborted && error === signal.reason) return { steps: 0, interrupted: true, skipped: 0 };
      throw error;
    });
  });
}

type Emit = (event: LoraEvent) => void;

/** What a run works with, once its options are understood. */
interface Job {
  config: LoraConfig;
  llava: LlavaWeights;
  source: SampleSource;
  sampler: UpdateSampler;
  /** Of the samples that are held out; null when there are none. */
  heldOut: UpdateSampler | null;
  plan: LoraPlan;
  emit: Emit;
  signal: AbortSignal | undefined;
  ranks: Ranks;
}

async function run(config: LoraConfig, emit: Emit, signal: AbortSignal | undefined, ranks: Ranks): Promise<LoraResult> {
  const device = resolveDevice(config.device, loadAddon().info(), ranks.localRank);
  if (config.dryRun) {
    const planned = await planWithoutWeights(config, ranks.worldSize, device, signal);
    emit({ type: 'start', ...planned });
    for (const message of planned.plan.warnings) emit({ type: 'warning', message });
    return { steps: 0, interrupted: false, skipped: 0 };
  }
  const llava = await openModel(config);
  const folder = await RunFolder.open(config, freeLoraKeys, ranks);
  try {
    // Several ranks stop together, after an update: here one might leave and the others wait for it.
    const source = await openSource(config, llava, folder, ranks.group ? undefined : signal, ranks).catch(async (error: unknown) => {
      await folder.abandon();
      throw error;
    });
    try {
      if (ranks.group) await agree(ranks, await alike({ config, llava, source }));
      const samplers = samplersOf(config, source, ranks);
      const plan = planOf(config, llava, source, samplers, ranks, device);
      emit({ type: 'start', plan, notes: [] });
      for (const message of plan.warnings) emit({ type: 'warning', message });
      return await tuneInto(folder, { config, llava, source, ...samplers, plan, emit, signal, ranks });
    } finally {
      await source.close();
    }
  } finally {
    await folder.close();
  }
}

function openModel({ model, visionTower, activation, projector, adapter, visionFeature, anyBase }: LoraConfig): Promise<LlavaWeights> {
  return openLlava(model, { visionTower, activation, projector, adapter, feature: visionFeature, anyBase });
}

/** What all ranks must have alike. Paths may differ between machines; what is behind them may not. */
async function alike({ config, llava, source }: Pick<Job, 'config' | 'llava' | 'source'>): Promise<Record<string, unknown>> {
  const options = Object.entries(config).filter(
    ([key]) => !['model', 'visionTower', 'projector', 'adapter', 'data', 'images', 'workers', 'threads'].includes(key),
  );
  return {
    kuea: packageVersion(),
    libtorch: loadAddon().info().libtorch,
    ...llava.trainedOn,
    dataFingerprint: await source.fingerprint(),
    ...Object.fromEntries(options),
  };
}

/** Opens and checks the samples; what cannot be used of them is listed in the run's folder. */
async function openSource(
  config: LoraConfig,
  llava: LlavaWeights,
  folder: RunFolder,
  signal: AbortSignal | undefined,
  { rank }: Ranks,
): Promise<SampleSource> {
  const { data, images, maxLength, missing, verifyImages } = config;
  const { image, patches, imageToken } = llava;
  const tokenizer = data.endsWith('.safetensors') ? null : await openTokenizer(llava.folder);
  return openSamples(data, {
    images,
    tokenizer,
    ...image,
    patches,
    imageToken,
    maxLength,
    missing,
    verifyImages,
    ...(rank === 0 ? { reportFile: folder.file('preflight.jsonl') } : {}),
    signal,
  });
}

function samplersOf(config: LoraConfig, source: SampleSource, { worldSize }: Ranks): Pick<Job, 'sampler' | 'heldOut'> {
  const { valFraction, seed, microBatch: batchSize, gradAccum, shuffle, groupByModalityLength } = config;
  const { train: members, validation } = split(source.length, valFraction, seed);
  const common = { lengths: source.lengths, batchSize, gradAccum, ranks: worldSize, seed };
  const order = !shuffle ? 'sequential' : groupByModalityLength ? 'modality-length' : 'shuffle';
  return {
    sampler: new UpdateSampler({ ...common, members, order }),
    heldOut: validation.length > 0 ? new UpdateSampler({ ...common, members: validation, order: 'sequential' }) : null,
  };
}

function planOf(
  config: LoraConfig,
  { model, adapter }: LlavaWeights,
  source: SampleSource,
  { sampler, heldOut }: Pick<Job, 'sampler' | 'heldOut'>,
  { worldSize }: Ranks,
  device: string,
): LoraPlan {
  const { vision, llama, feature } = model;
  return planLora(config, {
    vision,
    llama,
    feature,
    ...adapterShape(config, adapter),
    samples: sampler.samples,
    validation: heldOut?.samples ?? 0,
    leftOut: source.skipped,
    pixelBytes: source.pixels === 'u8' ? 1 : 4,
    ranks: worldSize,
    device,
    card: cardBytes(config),
  });
}

/** What the loader and the trainer must know alike about a micro-batch. */
const slotOptions = ({ config, llava }: Job) => ({
  packing: config.pack,
  batchSize: config.microBatch,
  maxLength: config.maxLength,
  patches: llava.patches,
});

function openTrainer(job: Job): Promise<NativeLoraTrainer> {
  const { config, llava, source, heldOut, plan, ranks } = job;
  const { precision, seed, dropout, beta1, beta2, eps, weightDecay, maxGradNorm, activationCheckpointing, offload } = config;
  const lora = { rank: plan.rank, alpha: plan.alpha, weights: llava.adapter?.weights ?? null, seed };
  return loadAddon().openLoraTrainer({
    model: { ...llava.model, basePrecision: plan.basePrecision, precision, lora, device: plan.device },
    dropout,
    seed,
    trainProjector: !config.freezeProjector,
    optimizer: { beta1, beta2, eps, weightDecay },
    maxGradNorm,
    gradientCheckpointing: activationCheckpointing,
    offload,
    slots: trainingSlots + (heldOut ? validationSlots : 0),
    imagesPerSlot: imagesPerSlot(slotOptions(job)),
    pixels: source.pixels,
    distributed: ranks.group !== null,
  });
}

async function tuneInto(folder: RunFolder, job: Job): Promise<LoraResult> {
  const { config, llava, source, plan, emit, ranks } = job;
  const started = performance.now();
  const { language, vision } = llava.trainedOn;
  // Other ranks may go on with a run, and with another --grad-accum, as long as an update has as many samples.
  const fingerprints = { language, vision, data: await source.fingerprint(), effectiveBatch: String(plan.effectiveBatch) };
  await fromRank0(ranks, 'inputs', async () => {
    await claimInputs(folder, fingerprints);
    return true;
  });
  if (config.threads) await loadAddon().setThreads(config.threads);
  const checkpoint = await fromRank0(ranks, 'checkpoint', async () => (config.resume ? latestCheckpoint(folder) : null));
  const trainer = await openTrainer(job);
  try {
    if (checkpoint) {
      // Rank 0 reads it for all.
      await (ranks.rank === 0 ? restore(trainer, checkpoint, job) : trainer.restore([], checkpoint.step));
      emit({ type: 'resume', step: checkpoint.step, path: checkpoint.path });
    }
    const trained = await trainFrom(checkpoint?.step ?? 0, trainer, folder, job);
    const interrupted = trained.steps < plan.steps;
    const path = folder.file('export');
    if (!interrupted && ranks.rank === 0) {
      // A run that is resumed after its end exports the same adapter again.
      await rm(path, { recursive: true, force: true });
      await saveAdapter(trainer, path, job);
      emit({ type: 'export', path });
    }
    emit({ type: 'done', steps: trained.steps, interrupted, skipped: trained.skipped, seconds: (performance.now() - started) / 1000 });
    return { ...trained, interrupted, ...(interrupted ? {} : { export: path }) };
  } finally {
    await trainer.close();
  }
}

/** Adapter and projector as PEFT and LLaVA keep them: of a checkpoint, and of the end. */
function saveAdapter(trainer: NativeLoraTrainer, folder: string, { config, llava, plan }: Job): Promise<void> {
  return writeAdapter(trainer, folder, { llava, rank: plan.rank, alpha: plan.alpha, dropout: config.dropout });
}

async function restore(trainer: NativeLoraTrainer, { path, step }: Checkpoint, { config, llava }: Job): Promise<void> {
  const adapter = await openAdapter(join(path, 'adapter'));
  const { vision, llama } = llava.model;
  const weights = planAdapter(adapter, llama);
  if (!config.freezeProjector) {
    if (!adapter.projector)
      throw new KueaError(
        'bad_checkpoint',
        `expected the trained projector in ${adapter.folder}, found none: remove ${path} to resume from the checkpoint before`,
      );
    weights.push(...planProjector(adapter.folder, adapter.projector, vision.width, llama.width));
  }
  await restoreWithMoments(trainer, weights, path, step);
}

/** Mean loss of the held-out samples, weighed as the training's are; null when the signal stopped it, on any rank. */
async function validate(step: number, heldOut: UpdateSampler, trainer: NativeLoraTrainer, job: Job): Promise<ValidationLine | null> {
  const { config, source, llava, signal, ranks } = job;
  const slotNumbers = Array.from({ length: validationSlots }, (_, i) => trainingSlots + i);
  const loader = new MicroBatchLoader({
    ...slotOptions(job),
    source,
    sampler: heldOut,
    slots: trainer.slots,
    slotNumbers,
    imageSize: llava.image.size,
    normalisation: config.lossNormalisation,
    rank: ranks.rank,
    ranks: ranks.worldSize,
    startUpdate: 0,
    endUpdate: heldOut.updatesPerEpoch,
    maxSkipped: config.maxSkipped,
  });
  const mine = { sum: 0, denominators: 0, samples: 0 };
  const evaluate = async (): Promise<boolean> => {
    for await (const update of loader) {
      for await (const batch of update.microBatches) {
        if (signal?.aborted) return false;
        const { loss, denominator } = await trainer.evaluate(batch);
        loader.release(batch.slot);
        mine.sum += loss;
        mine.denominators += denominator;
        mine.samples += batch.lengths.length;
      }
    }
    return true;
  };
  const parts = await gather(ranks, 'validation', (await evaluate()) ? mine : null);
  if (parts.includes(null)) return null;
  const total = (key: keyof typeof mine) => parts.reduce((all, part) => all + part![key], 0);
  const [sum, denominators, samples] = [total('sum'), total('denominators'), total('samples')];
  return { step, val_loss: denominators > 0 ? sum / denominators : 0, val_samples: samples };
}

async function trainFrom(
  start: number,
  trainer: NativeLoraTrainer,
  folder: RunFolder,
  job: Job,
): Promise<Pick<LoraResult, 'steps' | 'skipped' | 'metrics' | 'validation'>> {
  const { config, source, llava, sampler, heldOut, plan, emit, signal, ranks } = job;
  const { steps } = plan;
  const writes = ranks.rank === 0;
  // What a run that was killed before its first checkpoint wrote is written again, the loss before the first update too.
  const metricsFile = writes
    ? await MetricsFile.open<LoraMetricsLine | ValidationLine>(folder.file('metrics.jsonl'), start === 0 ? -1 : start)
    : null;
  const loader = new MicroBatchLoader({
    ...slotOptions(job),
    source,
    sampler,
    slots: trainer.slots,
    slotNumbers: Array.from({ length: trainingSlots }, (_, i) => i),
    imageSize: llava.image.size,
    normalisation: config.lossNormalisation,
    rank: ranks.rank,
    ranks: ranks.worldSize,
    startUpdate: start,
    endUpdate: steps,
    maxSkipped: config.maxSkipped,
    ...(writes ? { skippedFile: folder.file('skipped.jsonl') } : {}),
    ...(config.workers ? { concurrency: config.workers } : {}),
  });
  const stop = agreedStop(ranks, signal);
  let metrics: LoraMetricsLine | undefined;
  let validation: ValidationLine | undefined;
  const validateAt = async (step: number) => {
    const line = heldOut && (await validate(step, heldOut, trainer, job));
    if (!line) return;
    validation = line;
    await metricsFile?.write(validation);
    emit({ type: 'validation', ...validation });
  };
  const schedule: Omit<Schedule, 'lr'> = { scheduler: config.scheduler, warmup: plan.warmup, first: 'zero' };
  const rate = (lr: number, step: number) => learningRate({ ...schedule, lr }, step, steps);
  let [samples, tokens, since] = [0, 0, performance.now()];
  try {
    if (start === 0) await validateAt(0);
    const done = await train<Update, LoraMetrics>({
      batches: loader,
      start,
      steps,
      logEvery: config.logEvery,
      saveEvery: config.saveEvery,
      learningRate: (step) => rate(config.lr, step),
      step: async (update, lr, log) => {
        ranks.atStep(update.update + 1);
        for await (const batch of update.microBatches) {
          tokens += batch.tokens.length;
          await trainer.accumulate(batch);
          loader.release(batch.slot);
        }
        samples += update.samples;
        const made = await trainer.update({ lr, projectorLr: rate(config.projectorLr, update.update), log });
        stop.afterStep();
        return made;
      },
      // Each micro-batch's slot was, when it had been read.
      release: () => {},
      onStep: async (step, update, lr, { loss, gradNorm, labels, tokens: updateTokens, seconds }) => {
        // Every rank has about as many.
        const passed = (performance.now() - since) / 1000 / ranks.worldSize;
        metrics = {
          step,
          epoch: update.epoch,
          lr,
          loss,
          grad_norm: gradNorm,
          samples_per_second: samples / passed,
          tokens_per_second: tokens / passed,
          labels,
          tokens: updateTokens,
          decode_wait_ms: update.waitMs,
          decode_ms: update.decodeMs,
          seconds,
        };
        [samples, tokens, since] = [0, 0, performance.now()];
        await metricsFile?.write(metrics);
        emit({ type: 'step', steps, ...metrics });
      },
      save: async (step) => {
        await validateAt(step);
        await trainer.gather();
        // The others' undecodable images are listed with rank 0's.
        const skipped = await gather(ranks, 'skipped', loader.takeSkipped());
        if (!writes) return;
        await loader.addSkipped(skipped.flat());
        const saved = await saveCheckpoint(folder, step, packageVersion(), config.keepCheckpoints, async (path) => {
          await saveAdapter(trainer, join(path, 'adapter'), job);
          await writeMoments(trainer, path);
        });
        emit({ type: 'checkpoint', ...saved });
      },
      signal: stop.signal,
    });
    return { steps: done, skipped: loader.skippedCount, ...(metrics ? { metrics } : {}), ...(validation ? { validation } : {}) };
  } finally {
    stop.end();
    await metricsFile?.close();
  }
}
