import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { z } from 'zod';

import { readConfigFile } from '../config/files.js';
import { KueaError } from '../errors.js';
import { readOwn } from '../regular-file.js';
import type { ModelFile, WeightsFile } from './kind.js';
import { checkpointMetadata, originOf } from './own-metadata.js';

/** What a checkpoint of kuea-align calls the file of its student. */
export const studentFile = 'student.safetensors';
/** The kernel's parameters are in it too. */
const kernelNames = ['kernel.gamma', 'kernel.c', 'kernel.sigma'];

/**
 * The weights of a checkpoint or of a run, whose newest checkpoint stands for it; null when the folder is neither. Throws KueaError
 * `weights_not_found` for a run of kuea-lora, saying what to name instead.
 */
export async function checkpointIn(folder: string, names: readonly string[]): Promise<string | null> {
  if (names.includes(studentFile)) return join(folder, studentFile);
  const adapter = await adapterOfRun(folder, names);
  if (adapter)
    throw new KueaError(
      'weights_not_found',
      `expected a model, found what kuea-lora trained in ${folder}: name its base with --model, and --adapter ${adapter}`,
    );
  const latest = await latestOf(folder, names);
  const file = latest && join(latest, studentFile);
  return file && (await stat(file).catch(() => null)) ? file : null;
}

/** The adapter of a run of kuea-lora or of one of its checkpoints; null when the folder is neither. */
export async function adapterOfRun(folder: string, names: readonly string[]): Promise<string | null> {
  const latest = await latestOf(folder, names);
  const exported = names.includes('config.yaml') ? join(folder, 'export') : null;
  for (const place of [exported, join(folder, 'adapter'), latest && join(latest, 'adapter')])
    if (place && (await stat(join(place, 'adapter_config.json')).catch(() => null))) return place;
  return null;
}

/** The newest checkpoint's folder of a run. */
async function latestOf(folder: string, names: readonly string[]): Promise<string | null> {
  if (!names.includes('config.yaml') || !names.includes('latest')) return null;
  const latest = ((await readOwn(join(folder, 'latest'))) ?? '').trim();
  return /^checkpoints\/step-\d{6,}$/.test(latest) ? join(folder, latest) : null;
}

const runSchema = z.looseObject({ student: z.string(), activation: z.enum(['quick_gelu', 'gelu']).optional() });

/** Opens what a checkpoint of 0.1 was trained from. */
export type OpenStudent = (ref: string, options: { activation: z.output<typeof runSchema>['activation'] }) => Promise<WeightsFile>;

/**
 * A model file, of a checkpoint without what is the kernel's. A checkpoint of 0.1 says nothing of itself: what it was trained from, which
 * `open` opens, says it. Throws KueaError `weights_not_found` when that is not there.
 */
export async function describeCheckpoint(file: ModelFile, open: OpenStudent): Promise<ModelFile> {
  if (!file.tensors.has(kernelNames[0]!)) return file;
  const tensors = new Map([...file.tensors].filter(([name]) => !kernelNames.includes(name)));
  if (originOf(file) !== undefined) return { ...file, tensors };
  const config = join(dirname(file.path), '..', '..', 'config.yaml');
  const run = await readConfigFile(config).then(runSchema.safeParse, () => null);
  if (!run?.success)
    throw new KueaError(
      'weights_not_found',
      `expected the config.yaml of its run around the checkpoint ${file.path}, which does not say itself what it was trained from: ` +
        'leave it in the folder of its run',
    );
  const { student, activation } = run.data;
  try {
    return { ...file, tensors, metadata: checkpointMetadata(await open(student, { activation })) };
  } catch (cause) {
    if (!(cause instanceof KueaError) || cause.code !== 'weights_not_found') throw cause;
    throw new KueaError(
      'weights_not_found',
      `expected the model ${student}, which the checkpoint ${file.path} was trained from and does not describe itself, found nothing ` +
        'there: put it back, or start from the folder that the run was started from',
      { cause },
    );
  }
}
