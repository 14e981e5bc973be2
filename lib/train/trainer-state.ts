import { join } from 'node:path';

import type { NativeTrainer, WriteStep } from '../native/addon.js';
import { toBytes } from '../weights/key-map.js';
import { buildHeader, readSafetensors } from '../weights/safetensors.js';

const moments = ['exp_avg', 'exp_avg_sq'] as const;
const weightsFile = 'student.safetensors';
const optimizerFile = 'optimizer.safetensors';

/** A checkpoint's two tensor files: the student with the kernel's parameters, and AdamW's moments under `exp_avg.NAME` and `exp_avg_sq.NAME`. */
export async function writeTrainerState(trainer: NativeTrainer, folder: string): Promise<void> {
  const { parameters } = trainer;
  const write = (file: string, entries: { name: string; shape: number[]; step: WriteStep }[]) =>
    trainer.write(
      join(folder, file),
      buildHeader(entries.map(({ name, shape }) => ({ name, dtype: 'F32', shape }))),
      entries.map(({ step }) => step),
    );
  await write(weightsFile, parameters.map(({ name, shape }) => ({ name, shape, step: { parameter: name } })));
  await write(
    optimizerFile,
    moments.flatMap((state) => parameters.map(({ name, shape }) => ({ name: `${state}.${name}`, shape, step: { parameter: name, state } }))),
  );
}

/** Reads both back; `step` is the number of updates that they had seen. Throws when a tensor is missing, unexpected or misshapen. */
export async function restoreTrainerState(trainer: NativeTrainer, folder: string, step: number): Promise<void> {
  const weights = await readSafetensors(join(folder, weightsFile));
  const optimizer = await readSafetensors(join(folder, optimizerFile));
  const split = (name: string) => {
    const dot = name.indexOf('.');
    return { state: name.slice(0, dot) as (typeof moments)[number], parameter: name.slice(dot + 1) };
  };
  await trainer.restore(
    [
      ...Array.from(weights.tensors, ([parameter, tensor]) => ({ parameter, source: toBytes(parameter, tensor), state: 'value' as const })),
      ...Array.from(optimizer.tensors, ([name, tensor]) => ({ ...split(name), source: toBytes(name, tensor) })),
    ],
    step,
  );
}
