import { stat } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';

import { KueaError } from '../../errors.js';
import type { Tensors } from '../../files/tensors.js';
import type { ClipVisionArch, LlavaSpec, LoadStep, TensorBytes } from '../../native/addon.js';
import { isClipExtra, visionPairs, withVisionModel } from '../clip/keys.js';
import { type ClipHints, clipVisionArch, hfClipHints } from '../clip/shape.js';
import { type KeyPair, planLoad, rowsOf, storedShape } from '../key-map.js';
import type { Json } from '../model-folder.js';
import { type OpenWeightsOptions, openWeights } from '../open.js';
import { clipStatistics, type ImageStatistics, readPreprocessing } from '../preprocessing.js';

/** LLaVA's CLIP vision tower, whole; LLaVA computes all but its last block. */
export interface Tower extends ImageStatistics {
  /** Hub id or absolute path; null when it lies in the model's own files. */
  ref: string | null;
  arch: ClipVisionArch;
  /** OpenAI's names, without a prefix. */
  plan: LoadStep[];
  /** Side in pixels of its images. */
  size: number;
}

/** A tower in files of its own, in any layout. `around`: the folder that a relative path in its config may start from. */
export async function separateTower(ref: string, around: string, activation: OpenWeightsOptions['activation']): Promise<Tower> {
  const beside = join(around, ref);
  const found = !isAbsolute(ref) && (await stat(beside).catch(() => null)) ? beside : ref;
  const { arch, plan, mean, std, preprocessing } = await openWeights(found, { role: 'tower', activation });
  const { imageSize } = arch;
  if (preprocessing.resize !== imageSize || preprocessing.crop !== imageSize) {
    throw new KueaError(
      'unsupported_preprocessing',
      `expected images of ${imageSize} pixels for the tower ${found}, as its position embeddings have it, found ${preprocessing.resize} ` +
        `cut to ${preprocessing.crop} in its preprocessor_config.json`,
    );
  }
  return {
    ref: (await stat(found).catch(() => null)) ? resolve(found) : found,
    arch: arch as ClipVisionArch,
    plan,
    mean,
    std,
    size: imageSize,
  };
}

/**
 * The tower in a LLaVA's own files: their tensors that begin with `prefix`, in Hugging Face's names with or without `vision_model.`. Null
 * when there are none.
 */
export async function includedTower(ref: string, folder: string, config: Json, tensors: Tensors, prefix: string): Promise<Tower | null> {
  const own: Tensors = withVisionModel(
    new Map([...tensors].filter(([name]) => name.startsWith(prefix)).map(([name, tensor]) => [name.slice(prefix.length), tensor])),
  );
  if (own.size === 0) return null;
  const hints: ClipHints = config['vision_config'] ? hfClipHints(config) : {};
  const arch = clipVisionArch(ref, own, 'hf', { ...hints, activation: hints.activation ?? 'quick_gelu' }, 'optional');
  const { mean, std } = await readPreprocessing({ path: folder, folder, openClip: null, metadata: {} }, clipStatistics, arch.imageSize);
  return { ref: null, arch, plan: planLoad(ref, visionPairs(arch), own, isClipExtra), mean, std, size: arch.imageSize };
}

/** Where rows of a parameter lie that a plan reads as a whole or in the same parts. */
function partOf(plan: readonly LoadStep[], { name, stored }: KeyPair, part: number, rows: number): TensorBytes {
  const steps = plan.filter(({ parameter }) => parameter === name);
  return steps.length === stored.length ? steps[part]!.source : rowsOf(steps[0]!.source, part * rows, rows);
}

/** The tower's tensors under Hugging Face's names, without its projection. `computed`: what LLaVA needs of them alone. */
export function towerTensors({ arch, plan }: Tower, computed: 'all' | 'computed'): { name: string; source: TensorBytes }[] {
  const pairs = visionPairs(arch).filter(({ name }) => name !== 'proj' && (computed === 'all' || isComputed(arch, name)));
  return pairs.flatMap((pair) => {
    const shape = storedShape(pair);
    return pair.stored.map((name, part) => ({ name, source: partOf(plan, pair, part, shape[0]!) }));
  });
}

const isComputed = ({ layers }: ClipVisionArch, name: string) =>
  name !== 'proj' && !name.startsWith(`transformer.resblocks.${layers - 1}.`);

/** What LLaVA loads of the tower, under the names of its load plan. */
export function towerPlan({ arch, plan }: Tower, feature: LlavaSpec['feature']): LoadStep[] {
  const wanted = (name: string) => isComputed(arch, name) && (feature === 'ln_post' || !name.startsWith('ln_post.'));
  return plan.filter(({ parameter }) => wanted(parameter)).map((step) => ({ ...step, parameter: `vision.${step.parameter}` }));
}
