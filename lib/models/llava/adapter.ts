import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { KueaError, named, shown } from '../../errors.js';
import { isHubId } from '../../files/hub/fetch.js';
import { readTensors } from '../../files/read-tensors.js';
import type { Tensors } from '../../files/tensors.js';
import { readTorchFile } from '../../files/torch-file.js';
import type { ClipVisionArch, LlamaArch, LlavaSpec, LoadStep } from '../../native/addon.js';
import { adapterOfRun } from '../checkpoint.js';
import { chooseWeights, fetchModel } from '../fetch-model.js';
import { planLoad } from '../key-map.js';
import { type Json, readJson } from '../model-folder.js';
import { linears, llavaLayouts, loraPairs, prefixes, projectorPairs, savedProjectors } from './keys.js';

/** What an adapter of ours says, in its safetensors metadata, of the model that it was trained on. */
export interface TrainedOn {
  /** Fingerprints of the language model and of the vision tower. */
  language: string;
  vision: string;
  feature: LlavaSpec['feature'];
  /** Hub id or path of a separate tower; empty when it was in the base's files. */
  visionTower: string;
  /** Of the tower, whose file need not say it. 0.1 did not remember it. */
  activation?: ClipVisionArch['activation'] | undefined;
}

/** A PEFT LoRA adapter on disk, understood and not yet read. */
export interface Adapter {
  folder: string;
  rank: number;
  alpha: number;
  dropout: number;
  /** base_model_name_or_path: where its base was when it was trained. */
  base: string | null;
  trainedOn: TrainedOn | null;
  /** config.json beside it, of the LLaVA that it makes. */
  config: Json | null;
  /** target_modules when it is a list. */
  targets: string[] | null;
  tensors: Tensors;
  /** The trained projector under the original's names; null when there is none. */
  projector: Tensors | null;
}

const no = z.literal(false).nullish();
const none = z.null().optional();
const empty = z.strictObject({}).nullish();

/** adapter_config.json as far as it changes the maths; all else in it may be anything. */
const configSchema = z.looseObject({
  peft_type: z.literal('LORA'),
  r: z.int().positive(),
  lora_alpha: z.number().positive(),
  lora_dropout: z.number().min(0).max(1).default(0),
  target_modules: z.union([z.string(), z.array(z.string())]).nullish(),
  base_model_name_or_path: z.string().nullish(),
  bias: z.literal('none').optional(),
  // The others (pissa, olora, loftq, corda, lora_ga) change the base's weights too.
  init_lora_weights: z.union([z.boolean(), z.enum(['gaussian', 'eva', 'orthogonal'])]).nullish(),
  use_dora: no,
  use_rslora: no,
  use_qalora: no,
  use_bdlora: no,
  lora_bias: no,
  fan_in_fan_out: no,
  alpha_pattern: empty,
  rank_pattern: empty,
  modules_to_save: z.array(z.enum(savedProjectors)).nullish(),
  target_parameters: z.array(z.string()).max(0).nullish(),
  layer_replication: none,
  trainable_token_indices: none,
  alora_invocation_tokens: none,
  arrow_config: none,
  kasa_config: none,
  monteclora_config: none,
  velora_config: none,
});

async function resolveAdapter(ref: string): Promise<string> {
  const info = await stat(ref).catch(() => null);
  if (info?.isDirectory()) return ref;
  if (!info && isHubId(ref)) return fetchModel(ref, { files: 'adapter' });
  throw new KueaError(
    'adapter_not_found',
    `expected a folder with adapter_config.json and adapter_model.safetensors, or a hub id of one, for --adapter, found ` +
      `${info ? 'a file' : 'nothing'} at ${ref}`,
  );
}

/**
 * Opens a PEFT adapter: adapter_config.json, adapter_model.safetensors or .bin, and LLaVA's non_lora_trainables beside it. Throws KueaError
 * `adapter_not_found`, `bad_adapter`, `unsupported_adapter` for what PEFT can and kuea-lora cannot, and what the readers throw.
 */
export async function openAdapter(ref: string): Promise<Adapter> {
  const folder = await resolveAdapter(ref);
  const names = await readdir(folder);
  const file = chooseWeights(names, 'adapter');
  const json = await readJson(folder, 'adapter_config.json');
  const trained = json ? null : await adapterOfRun(folder, names);
  if (trained)
    throw new KueaError('adapter_not_found', `expected an adapter, found a run of kuea-lora in ${folder}: name ${trained}, which it made`);
  if (!json || !file)
    throw new KueaError(
      'adapter_not_found',
      `expected ${json ? 'adapter_model.safetensors or adapter_model.bin' : 'adapter_config.json'} in ${folder}, found none`,
    );
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) {
    const key = String(parsed.error.issues[0]!.path[0]);
    throw new KueaError(
      'unsupported_adapter',
      `expected a plain LoRA adapter in ${folder}, found ${named(key)} ${json[key] === undefined ? 'missing' : shown(json[key])} in its ` +
        `adapter_config.json, which kuea-lora does not compute: merge it into its base with peft, and use that`,
    );
  }
  const { r, lora_alpha: alpha, lora_dropout: dropout, target_modules: targets, base_model_name_or_path: base } = parsed.data;
  const { tensors, metadata } = await readTensors(join(folder, file));
  const saved = takeProjector(tensors, parsed.data.modules_to_save ?? []);
  return {
    folder,
    rank: r,
    alpha,
    dropout,
    tensors,
    base: base ?? null,
    trainedOn: readTrainedOn(folder, metadata),
    config: await readJson(folder, 'config.json'),
    targets: Array.isArray(targets) ? targets : null,
    projector: saved ? projectorTensors(saved) : await readNonLora(folder, names),
  };
}

const trainedOnKey = 'kuea_trained_on';
const trainedOnSchema = z.strictObject({
  language: z.string(),
  vision: z.string(),
  feature: z.enum(['hidden', 'ln_post']),
  visionTower: z.string(),
  activation: z.enum(['quick_gelu', 'gelu']).optional(),
});

export const trainedOnMetadata = (trainedOn: TrainedOn): Record<string, string> => ({ [trainedOnKey]: JSON.stringify(trainedOn) });

function readTrainedOn(folder: string, { [trainedOnKey]: text }: Record<string, string>): TrainedOn | null {
  if (text === undefined) return null;
  try {
    return trainedOnSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new KueaError(
      'bad_adapter',
      `expected ${trainedOnKey} in the metadata of ${folder} as kuea-lora writes it, found ${named(text)}: it was changed, or a ` +
        `newer version wrote it`,
      { cause },
    );
  }
}

/** Takes the tensors of these modules, which PEFT saves beside LoRA's, out of the others; null when there are none. */
function takeProjector(tensors: Tensors, modules: readonly string[]): Tensors | null {
  const saved: Tensors = new Map();
  for (const [name, tensor] of tensors) {
    if (!modules.some((module) => name.includes(`.${module}.`))) continue;
    saved.set(name, tensor);
    tensors.delete(name);
  }
  return saved.size > 0 ? saved : null;
}

/** LLaVA saves what was trained besides LoRA apart, under names with PEFT's prefixes; nothing at all when nothing was. */
async function readNonLora(folder: string, names: readonly string[]): Promise<Tensors | null> {
  const file = ['non_lora_trainables.safetensors', 'non_lora_trainables.bin'].find((name) => names.includes(name));
  if (!file) return null;
  const { tensors } = file.endsWith('.bin')
    ? await readTorchFile(join(folder, file), 'may be empty')
    : await readTensors(join(folder, file));
  return tensors.size === 0 ? null : projectorTensors(tensors);
}

/** A projector's tensors under the original layout's names, from those or transformers', whatever stands before them. */
export function projectorTensors(tensors: Tensors): Tensors {
  const [first, second] = prefixes.original.projector;
  const original = (name: string) =>
    name
      .replace(/^.*?(?=mm_projector\.)/, 'model.')
      .replace(/^.*?multi_modal_projector\.linear_([12])\./, (_, i: string) => (i === '1' ? first : second));
  return new Map(Array.from(tensors, ([name, tensor]) => [original(name), tensor]));
}

/**
 * The load plan of LoRA's tensors: all of them, on every linear map. Throws KueaError `bad_weights` for what binds to nothing, is missing
 * or misshapen.
 */
export function planAdapter({ folder, tensors, rank, targets }: Adapter, llama: LlamaArch): LoadStep[] {
  const names = [...tensors.keys()];
  const layout = llavaLayouts.find((l) => names.some((name) => name.startsWith(`base_model.model.${prefixes[l].language}layers.`)));
  if (!layout)
    throw new KueaError(
      'bad_adapter',
      `expected PEFT's names of a language model's layers in ${folder}, such as ` +
        `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight, found ${names[0] ?? 'no tensor'}`,
    );
  const known = linears(llama).map(({ name }) => name);
  const unbound = targets?.find(
    (target) => !known.some((name) => name === target || name.endsWith(`.${target}`) || target.endsWith(`.${name}`)),
  );
  if (unbound !== undefined)
    throw new KueaError(
      'bad_adapter',
      `expected target_modules among ${known.join(', ')} in adapter_config.json of ${folder}, found ${named(unbound)}: it has ` +
        `no tensors here`,
    );
  return planLoad(`the adapter ${folder}`, loraPairs(llama, rank, prefixes[layout].language), tensors, () => false);
}

/** The load plan of a projector in the original's names. */
export function planProjector(ref: string, tensors: Tensors, visionWidth: number, width: number): LoadStep[] {
  return planLoad(`the projector of ${ref}`, projectorPairs(visionWidth, width, 'original'), tensors, () => false);
}
