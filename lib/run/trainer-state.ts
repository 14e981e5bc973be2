import { join } from 'node:path';
import { buildHeader, readSafetensors } from '../files/safetensors.js';
import { toBytes } from '../files/tensors.js';
import { studentFile } from '../models/checkpoint.js';
import type { WeightsFile } from '../models/kind.js';
import { checkpointMetadata } from '../models/own-metadata.js';
import type { LoadStep, NativeTrainer, WriteStep } from '../native/addon.js';

const moments = ['exp_avg', 'exp_avg_sq'] as const;
const optimizerFile = 'optimizer.safetensors';

/** What of a trainer a checkpoint is made of. */
type Trainer = Pick<NativeTrainer, 'parameters' | 'write' | 'restore'>;
type RestorePlan = Parameters<Trainer['restore']>[0];

async function writeTensors(
  trainer: Trainer,
  file: string,
  entries: { name: string; shape: number[]; step: WriteStep }[],
  metadata?: Record<string, string>,
): Promise<void> {
  const header = buildHeader(
    entries.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
    metadata,
  );
  await trainer.write(
    file,
    header,
    entries.map(({ step }) => step),
  );
}

/** AdamW's moments, under `exp_avg.NAME` and `exp_avg_sq.NAME`. */
export async function writeMoments(trainer: Trainer, folder: string): Promise<void> {
  const entries = moments.flatMap((state) =>
    trainer.parameters.map(({ name, shape }) => ({ name: `${state}.${name}`, shape, step: { parameter: name, state } })),
  );
  await writeTensors(trainer, join(folder, optimizerFile), entries);
}

/**
 * Reads weights and moments back; `step` is the number of updates that they had seen. Throws when a tensor is missing, unexpected or
 * misshapen.
 */
export async function restoreWithMoments(trainer: Trainer, weights: readonly LoadStep[], folder: string, step: number): Promise<void> {
  const { tensors } = await readSafetensors(join(folder, optimizerFile));
  const split = (name: string) => {
    const dot = name.indexOf('.');
    return { state: name.slice(0, dot) as (typeof moments)[number], parameter: name.slice(dot + 1) };
  };
  const plan: RestorePlan = [
    ...weights.map((load) => ({ ...load, state: 'value' as const })),
    ...Array.from(tensors, ([name, tensor]) => ({ ...split(name), source: toBytes(name, tensor) })),
  ];
  await trainer.restore(plan, step);
}

/** A checkpoint's two tensor files: the student with the kernel's parameters and with what it says of itself, and the moments. */
export async function writeTrainerState(trainer: Trainer, folder: string, student: WeightsFile): Promise<void> {
  await writeTensors(
    trainer,
    join(folder, studentFile),
    trainer.parameters.map(({ name, shape }) => ({ name, shape, step: { parameter: name } })),
    checkpointMetadata(student),
  );
  await writeMoments(trainer, folder);
}

/** Reads both back, as restoreWithMoments does. */
export async function restoreTrainerState(trainer: Trainer, folder: string, step: number): Promise<void> {
  const { tensors } = await readSafetensors(join(folder, studentFile));
  await restoreWithMoments(
    trainer,
    Array.from(tensors, ([parameter, tensor]) => ({ parameter, source: toBytes(parameter, tensor) })),
    folder,
    step,
  );
}
