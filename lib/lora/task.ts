import { join } from 'node:path';
import { MicroBatchLoader, type MicroBatchLoaderOptions, type Update } from '../data/conversations/loader.js';
import { imagesPerSlot } from '../data/conversations/packing.js';
import type { UpdateSampler } from '../data/conversations/sampler.js';
import { SkippedImages } from '../data/skipped.js';
import { gather } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { replaceWhole, writeWhole } from '../files/output.js';
import { openAdapter, planAdapter, planProjector } from '../models/llava/adapter.js';
import { writeAdapter } from '../models/llava/write-adapter.js';
import type { LoraMetrics, NativeLoraTrainer } from '../native/addon.js';
import { loadAddon } from '../native/load.js';
import type { Checkpoint } from '../run/checkpoints.js';
import type { ValidationLine } from '../run/events.js';
import { Meter } from '../run/meter.js';
import { learningRate, type Schedule } from '../run/schedule.js';
import type { Session } from '../run/session.js';
import { restoreWithMoments, writeMoments } from '../run/trainer-state.js';
import type { Batches, Task } from '../run/training.js';
import type { LoraEvent, LoraLine } from './events.js';
import type { LoraInputs } from './inputs.js';
import type { LoraConfig } from './options.js';
import { trainingSlots, validationSlots } from './plan.js';

type LoraSession = Session<LoraConfig, LoraEvent>;
type LoraTask = Task<Update, LoraMetrics, LoraLine>;

/** A fine-tuning with its trainer open. */
export async function openTask(session: LoraSession, inputs: LoraInputs): Promise<LoraTask> {
  session.emit({ type: 'phase', name: 'loading the model' });
  return taskOf(session, inputs, await openTrainer(session, inputs));
}

function openTrainer({ config, device, ranks }: LoraSession, { llava, source, heldOut, plan }: LoraInputs): Promise<NativeLoraTrainer> {
  const { precision, seed, dropout, beta1, beta2, eps, weightDecay, maxGradNorm, activationCheckpointing, offload } = config;
  const lora = { rank: plan.rank, alpha: plan.alpha, weights: llava.adapter?.weights ?? null, seed };
  return loadAddon().openLoraTrainer({
    model: { ...llava.model, basePrecision: plan.basePrecision, precision, lora, device },
    dropout,
    seed,
    trainProjector: !config.freezeProjector,
    optimizer: { beta1, beta2, eps, weightDecay },
    maxGradNorm,
    gradientCheckpointing: activationCheckpointing,
    offload,
    slots: trainingSlots + (heldOut ? validationSlots : 0),
    imagesPerSlot: imagesPerSlot(slotOptions(config, llava)),
    pixels: source.pixels,
    distributed: ranks.group !== null,
  });
}

/** What the loader and the trainer must know alike about a micro-batch. */
const slotOptions = ({ pack, microBatch, maxLength }: LoraConfig, { patches }: LoraInputs['llava']) => ({
  packing: pack,
  batchSize: microBatch,
  maxLength,
  patches,
});

function taskOf(session: LoraSession, inputs: LoraInputs, trainer: NativeLoraTrainer): LoraTask {
  const { config, folder, ranks } = session;
  const { llava, source, sampler, heldOut, plan } = inputs;
  const meter = new Meter<'samples' | 'tokens'>();
  const loaderOptions = {
    ...slotOptions(config, llava),
    source,
    slots: trainer.slots,
    imageSize: llava.image.size,
    normalisation: config.lossNormalisation,
    rank: ranks.rank,
    ranks: ranks.worldSize,
  };
  const schedule: Omit<Schedule, 'lr'> = { scheduler: config.scheduler, warmup: plan.warmup, first: 'zero' };
  const rate = (lr: number, step: number) => learningRate({ ...schedule, lr }, step, plan.steps);
  /** Adapter and projector as PEFT and LLaVA keep them: of a checkpoint, and of the end. */
  const writeTo = (path: string, place: typeof writeWhole) =>
    writeAdapter(trainer, path, { llava, rank: plan.rank, alpha: plan.alpha, dropout: config.dropout }, place);
  let loader: MicroBatchLoader;
  return {
    steps: plan.steps,
    restore: (checkpoint) => (ranks.rank === 0 ? restore(trainer, checkpoint, session, inputs) : trainer.restore([], checkpoint.step)),
    batches: (startUpdate, skipped): Batches<Update> => {
      loader = new MicroBatchLoader({
        ...loaderOptions,
        sampler,
        slotNumbers: Array.from({ length: trainingSlots }, (_, i) => i),
        startUpdate,
        endUpdate: plan.steps,
        skipped,
        ...(config.workers ? { concurrency: config.workers } : {}),
      });
      // Each micro-batch's slot is released when it has been read.
      return { [Symbol.asyncIterator]: () => loader[Symbol.asyncIterator](), release: () => {} };
    },
    learningRate: (step) => rate(config.lr, step),
    step: async (update, lr, log) => {
      for await (const batch of update.microBatches) {
        meter.add('tokens', batch.tokens.length);
        await trainer.accumulate(batch);
        loader.release(batch.slot);
      }
      meter.add('samples', update.samples);
      return trainer.update({ lr, projectorLr: rate(config.projectorLr, update.update), log });
    },
    line: (step, update, lr, { loss, gradNorm, labels, tokens, seconds }) => {
      // Every rank has about as many.
      const perSecond = meter.read();
      return {
        step,
        epoch: update.epoch,
        lr,
        loss,
        grad_norm: gradNorm,
        samples_per_second: perSecond('samples') * ranks.worldSize,
        tokens_per_second: perSecond('tokens') * ranks.worldSize,
        labels,
        tokens,
        decode_wait_ms: update.waitMs,
        decode_ms: update.decodeMs,
        seconds,
      };
    },
    judge: null,
    validate: async (step) => (heldOut ? validate(step, heldOut, trainer, loaderOptions, session) : null),
    collect: () => trainer.gather(),
    write: async (path) => {
      await writeTo(join(path, 'adapter'), writeWhole);
      await writeMoments(trainer, path);
    },
    export: async function* () {
      const path = folder.file('export');
      // A run that is resumed after its end exports the same adapter again.
      await writeTo(path, replaceWhole);
      yield { layout: 'peft', path };
    },
    close: () => trainer.close(),
  };
}

async function restore(
  trainer: NativeLoraTrainer,
  { path, step }: Checkpoint,
  { config }: LoraSession,
  { llava }: LoraInputs,
): Promise<void> {
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
async function validate(
  step: number,
  heldOut: UpdateSampler,
  trainer: NativeLoraTrainer,
  loaderOptions: Omit<MicroBatchLoaderOptions, 'sampler' | 'startUpdate' | 'endUpdate' | 'skipped'>,
  { config, signal, ranks }: LoraSession,
): Promise<ValidationLine | null> {
  const loader = new MicroBatchLoader({
    ...loaderOptions,
    sampler: heldOut,
    slotNumbers: Array.from({ length: validationSlots }, (_, i) => trainingSlots + i),
    startUpdate: 0,
    endUpdate: heldOut.updatesPerEpoch,
    skipped: SkippedImages.inMemory(config.maxSkipped),
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
