import { KueaError } from '../errors.js';
import { readTensors } from '../files/read-tensors.js';
import { fingerprint } from './fingerprint.js';
import { planLoad } from './key-map.js';
import type { ModelFile, Role, ShapeOptions, WeightsFile } from './kind.js';
import { readJson, resolveModel } from './model-folder.js';
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
 * Opens the weights of a vision encoder: a Hugging Face or open_clip folder, a single file, or a hub id `owner/name[@revision]`. Names,
 * shapes and dtypes are checked, nothing is loaded. Throws KueaError: `weights_not_found`, `wrong_family`, `bad_weights`, `bad_config`,
 * `activation_mismatch`, `activation_unknown`, `unsupported_model`, and what the readers of each format throw.
 */
export async function openWeights(ref: string, { role, activation }: OpenWeightsOptions = {}): Promise<WeightsFile> {
  const { path, folder } = await resolveModel(ref);
  const file: ModelFile = {
    ref,
    path,
    ...(folder ? { folder } : {}),
    config: folder ? await readJson(folder, 'config.json') : null,
    openClip: folder ? await readJson(folder, 'open_clip_config.json') : null,
    ...(await readTensors(path)),
  };
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
  let print: Promise<string> | undefined;
  return {
    ref,
    path,
    ...(folder ? { folder } : {}),
    kind,
    arch,
    dim: kind.cost.dim(arch),
    layout,
    plan,
    text: kind.textTower(known, layout),
    fingerprint: () => (print ??= fingerprint(arch, plan)),
    ...(await readPreprocessing(known, kind.statistics, kind.inputSize(arch))),
  };
}
