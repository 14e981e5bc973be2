import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { KueaError } from '../errors.js';
import { readScalar } from '../files/read-scalar.js';
import { readTensors } from '../files/read-tensors.js';
import { describeCheckpoint, type OpenStudent } from './checkpoint.js';
import { fingerprint } from './fingerprint.js';
import { planLoad } from './key-map.js';
import type { Role, ShapeOptions, WeightsFile } from './kind.js';
import { readJson, resolveModel } from './model-folder.js';
import { logitScaleOf, originOf } from './own-metadata.js';
import { readPreprocessing } from './preprocessing.js';
import { detect, namesFor } from './registry.js';

export type { WeightsFile } from './kind.js';

export interface OpenWeightsOptions {
  /** What the caller needs; a model that cannot be it is an error. */
  role?: Role;
  /** Activation of a CLIP whose file does not say it. One that contradicts the file is refused. */
  activation?: ShapeOptions['activation'];
}

/**
 * Opens the weights of a vision encoder: a Hugging Face or open_clip folder, a single file, a checkpoint of kuea-align or its run (which
 * stands for its newest checkpoint), or a hub id `owner/name[@revision]`. Names, shapes and dtypes are checked, nothing is loaded. Throws
 * KueaError: `weights_not_found`, `wrong_family`, `bad_weights`, `bad_config`, `activation_mismatch`, `activation_unknown`,
 * `unsupported_model`, `unsupported_preprocessing`, and what the readers of each format throw.
 */
export function openWeights(ref: string, options: OpenWeightsOptions = {}): Promise<WeightsFile> {
  return openModel(ref, options, (student, { activation }) =>
    // 0.1 trained from no checkpoint: one whose run says so goes round in a circle.
    openModel(student, { activation }, () => {
      throw new KueaError(
        'bad_checkpoint',
        `expected a model as the student of the run around ${ref}, found a checkpoint of 0.1: ${student}`,
      );
    }),
  );
}

async function openModel(ref: string, { role, activation }: OpenWeightsOptions, openStudent: OpenStudent): Promise<WeightsFile> {
  const { path, folder } = await resolveModel(ref);
  const place = { ref, path, ...(folder ? { folder } : {}) };
  const file = await describeCheckpoint(
    {
      ...place,
      config: folder ? await readJson(folder, 'config.json') : null,
      openClip: folder ? await readJson(folder, 'open_clip_config.json') : null,
      ...(await readTensors(path)),
    },
    openStudent,
  );
  const found = detect(file.tensors);
  if (!found) {
    const some = [...file.tensors.keys()].slice(0, 3).join(', ');
    throw new KueaError('wrong_family', `expected ${namesFor(role)} in ${ref}, found the tensors of no such model (${some}, ...)`);
  }
  const { kind, layout, tensors } = found;
  if (role && !kind.roles.includes(role))
    throw new KueaError('wrong_family', `expected ${namesFor(role)} for the ${role}, found ${kind.name} in ${ref}`);

  const known = { ...file, tensors };
  const arch = kind.shape(known, layout, { activation, projection: role === 'tower' ? 'optional' : 'needed' });
  const plan = planLoad(ref, kind.keys(arch, layout), tensors, (name) => kind.ignores(layout, name));
  const text = kind.textTower(known, layout, arch);
  const trainedFrom = originOf(file);
  let print: Promise<string> | undefined;
  const weights: WeightsFile = {
    ...place,
    kind,
    arch,
    dim: kind.cost.dim(arch),
    layout,
    plan,
    text,
    logitScale: logitScaleOf(file) ?? (await readScalar(text?.tensors.get('logit_scale'))),
    origin: trainedFrom ?? ((await stat(ref).catch(() => null)) ? resolve(ref) : ref),
    companions: async () => (trainedFrom === undefined ? weights : openOrigin(weights)),
    fingerprint: () => (print ??= fingerprint(arch, plan)),
    ...(await readPreprocessing(known, kind.statistics, kind.inputSize(arch))),
  };
  return weights;
}

/** What a checkpoint was trained from, which must still be what it was in shape: its text tower's embeddings are compared with ours. */
async function openOrigin({ ref, origin, arch }: WeightsFile): Promise<WeightsFile> {
  const gone = (found: string, cause?: unknown) =>
    new KueaError(
      'origin_not_found',
      `expected the model that ${ref} was trained from in ${origin}, for its text tower and tokenizer, found ${found}: put it back, or ` +
        'use --to visual, which has neither',
      { cause },
    );
  const { activation } = arch as { activation?: ShapeOptions['activation'] };
  const opened = await openWeights(origin, { activation }).catch((cause: unknown) => {
    if (!(cause instanceof KueaError)) throw cause;
    if (cause.code === 'weights_not_found') throw gone('nothing there', cause);
    throw cause.code === 'activation_mismatch' ? gone('a model of another activation', cause) : cause;
  });
  if (!isDeepStrictEqual(opened.arch, arch)) throw gone('a model of another shape');
  return opened;
}
