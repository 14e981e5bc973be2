import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

import type { ImageGeometry } from '../../data/conversations/image.js';
import { KueaError } from '../../errors.js';
import { readTensors } from '../../files/read-tensors.js';
import type { Tensors } from '../../files/tensors.js';
import type { ClipVisionArch, LlavaSpec, LoadStep, StoredDtype } from '../../native/addon.js';
import { sampledFingerprint } from '../fingerprint.js';
import { planLoad } from '../key-map.js';
import { type Json, readJson, resolveModel } from '../model-folder.js';
import { type Adapter, openAdapter, planAdapter, planProjector, projectorTensors, type TrainedOn } from './adapter.js';
import { type LlavaConfig, readLlavaConfig } from './config.js';
import { isLlavaExtra, type LlavaLayout, languagePairs, llavaLayout, prefixes, projectorPairs } from './keys.js';
import { includedTower, separateTower, type Tower, towerPlan, towerTensors } from './tower.js';

export interface OpenLlavaOptions {
  /**
   * CLIP vision tower in place of the model's own: a folder, a file or a hub id. Default: the adapter's, the one in the model's files, the
   * one its config names.
   */
  visionTower?: string | undefined;
  /** Activation of a tower whose file does not say it. */
  activation?: ClipVisionArch['activation'] | undefined;
  /** mm_projector.bin for a language model without one. Default: the adapter's, the one in the model's files, the one beside them. */
  projector?: string | undefined;
  /** PEFT adapter: a folder or a hub id. */
  adapter?: string | undefined;
  /** Default: what the adapter was trained with, else what a config of ours says, else 'hidden'. */
  feature?: LlavaSpec['feature'] | undefined;
  /** Take an adapter although it was trained on another base. */
  anyBase?: boolean | undefined;
}

/** A LLaVA on disk, understood and not yet read. */
export interface LlavaWeights {
  ref: string;
  /** The model's folder: config.json, the tokenizer's files. */
  folder: string;
  layout: LlavaLayout;
  config: Json;
  /** The spec but for how it is computed; the adapter is apart. */
  model: Pick<LlavaSpec, 'vision' | 'mean' | 'std' | 'feature' | 'llama' | 'weights'>;
  tower: Tower;
  /** dtype of the language model's first linear map in its file. */
  dtype: StoredDtype;
  /** How an image is prepared, and the tokens that it becomes. */
  image: ImageGeometry;
  patches: number;
  /** Tokens that the language model was made for: question, image and answer. */
  context: number;
  /** Id that marks an image feature in tokens of others; the original layout has none. */
  imageToken: number | undefined;
  /** The adapter and its load plan (LlavaSpec.lora.weights). */
  adapter: (Adapter & { weights: LoadStep[] }) | null;
  /** What an adapter trained on this should remember. */
  trainedOn: TrainedOn;
}

/**
 * Opens a LLaVA-1.5: its authors' layout or llava-hf's old or new one, in one file or several, safetensors or .bin, from a folder or the
 * hub; a LLaMA with a projector and a tower from elsewhere; an adapter. Names, shapes and dtypes are checked, nothing is loaded. Throws
 * KueaError: `weights_not_found`, `bad_config`, `wrong_family`, `unsupported_model`, `bad_weights`, `tower_not_found`,
 * `projector_not_found`, `wrong_base`, `feature_mismatch`, and what openWeights, openAdapter and the readers throw.
 */
export async function openLlava(ref: string, options: OpenLlavaOptions = {}): Promise<LlavaWeights> {
  const { path, folder } = await resolveModel(ref);
  const config = folder ? await readJson(folder, 'config.json') : null;
  if (!folder || !config)
    throw new KueaError(
      'bad_config',
      `expected a model folder with config.json at ${ref}, found ${folder ? 'none in it' : 'a file alone'}: copy it from where the ` +
        `model came from`,
    );
  const adapter = options.adapter === undefined ? null : await openAdapter(options.adapter);
  checkActivation(options, adapter);
  const { tensors } = await readTensors(path);
  const layout = llavaLayout(tensors);
  if (!layout)
    throw new KueaError(
      'wrong_family',
      `expected a LLaVA in ${ref}, found none of its tensors (${[...tensors.keys()].slice(0, 3).join(', ')}, ...)`,
    );

  const settings = readLlavaConfig(ref, config, layout, adapter?.config ?? null);
  const tower = await openTower(ref, folder, config, settings, tensors, layout, adapter, options);
  const feature = featureOf(options.feature, adapter) ?? settings.feature ?? 'hidden';
  const { llama } = settings;
  const own = withoutTower(tensors, layout, llama.vocabulary);
  const isProjector = (name: string) => prefixes[layout].projector.some((prefix) => name.startsWith(prefix));
  const language = planLoad(ref, languagePairs(llama, layout), own, (name) => isLlavaExtra(name) || isProjector(name));
  const projector = await openProjector(ref, folder, own, layout, adapter, options.projector, tower.arch.width, llama.width);

  const trainedOn: TrainedOn = {
    language: await sampledFingerprint(
      language
        .filter(({ parameter }) => parameter.startsWith('model.layers.'))
        .map(({ parameter, source }) => ({ name: parameter, source })),
    ),
    vision: await sampledFingerprint(towerTensors(tower, 'computed')),
    feature,
    visionTower: tower.ref ?? '',
    activation: tower.arch.activation,
  };
  if (adapter) checkBase(ref, adapter, trainedOn, options.anyBase ?? false);

  const preprocessor = await readJson(folder, 'preprocessor_config.json');
  return {
    ref,
    folder,
    layout,
    config,
    tower,
    trainedOn,
    model: {
      vision: tower.arch,
      mean: tower.mean,
      std: tower.std,
      feature,
      llama,
      weights: [...towerPlan(tower, feature), ...language, ...projector],
    },
    dtype: language.find(({ parameter }) => parameter.endsWith('q_proj.weight'))!.source.dtype,
    image: { size: tower.size, aspect: settings.aspect ?? (preprocessor?.['do_pad'] === true ? 'pad' : 'crop') },
    patches: (tower.size / tower.arch.patchSize) ** 2,
    context: settings.context,
    imageToken: settings.imageToken,
    adapter: adapter && { ...adapter, weights: planAdapter(adapter, llama) },
  };
}

async function openTower(
  ref: string,
  folder: string,
  config: Json,
  settings: LlavaConfig,
  tensors: Tensors,
  layout: LlavaLayout,
  adapter: Adapter | null,
  { visionTower, activation, anyBase }: OpenLlavaOptions,
): Promise<Tower> {
  const remembered = anyBase ? undefined : adapter?.trainedOn?.activation;
  const asked = visionTower ?? (adapter?.trainedOn?.visionTower || undefined);
  const included = asked === undefined ? await includedTower(ref, folder, config, tensors, prefixes[layout].vision) : null;
  const named = asked ?? settings.visionTower;
  if (included) return included;
  if (!named)
    throw new KueaError(
      'tower_not_found',
      `expected a CLIP vision tower in ${ref} or its name in mm_vision_tower of config.json, found neither: name it with --vision-tower`,
    );
  try {
    return await separateTower(named, folder, activation ?? remembered);
  } catch (error) {
    if (!(error instanceof KueaError)) throw error;
    if (error.code === 'activation_mismatch' && activation === undefined && remembered)
      throw new KueaError(
        'activation_mismatch',
        `expected a tower with the activation ${remembered}, with which the adapter ${adapter!.folder} was trained, found another in ` +
          `${named}: name the right one with --vision-tower, or add --any-base to take this one all the same`,
        { cause: error },
      );
    if (error.code !== 'weights_not_found' || visionTower !== undefined) throw error;
    throw new KueaError(
      'tower_not_found',
      `expected the CLIP vision tower ${named}, which ` +
        `${asked === undefined ? `config.json of ${ref}` : `the adapter ${adapter!.folder}`} names, found nothing there: name it with ` +
        `--vision-tower`,
      { cause: error },
    );
  }
}

/** An adapter remembers its tower's activation: asking for another is a mistake. */
function checkActivation({ activation, anyBase }: OpenLlavaOptions, adapter: Adapter | null): void {
  const trained = adapter?.trainedOn?.activation;
  if (activation && trained && activation !== trained && !anyBase)
    throw new KueaError(
      'activation_mismatch',
      `expected --activation ${trained}, with which the adapter ${adapter.folder} was trained, found ${activation}: leave --activation out`,
    );
}

function featureOf(asked: LlavaSpec['feature'] | undefined, adapter: Adapter | null): LlavaSpec['feature'] | undefined {
  const trained = adapter?.trainedOn?.feature;
  if (asked && trained && asked !== trained)
    throw new KueaError(
      'feature_mismatch',
      `expected --vision-feature ${trained}, with which the adapter ${adapter.folder} was trained, found ${asked}: leave ` +
        `--vision-feature out`,
    );
  return asked ?? trained;
}

/**
 * What is left when the tower's tensors are taken off, of the embeddings and the head only the vocabulary's rows: others may follow, to a
 * round number.
 */
function withoutTower(tensors: Tensors, layout: LlavaLayout, vocabulary: number): Tensors {
  const { language, head, vision } = prefixes[layout];
  const own: Tensors = new Map();
  for (const [name, tensor] of tensors) {
    const [rows = 0, ...rest] = tensor.shape;
    const tall = (name === `${language}embed_tokens.weight` || name === `${head}weight`) && rows > vocabulary;
    if (!name.startsWith(vision)) own.set(name, tall ? { ...tensor, shape: [vocabulary, ...rest] } : tensor);
  }
  return own;
}

/** The projector's load plan: the adapter's trained one, the one asked for, the model's own, the one in a file beside it. */
async function openProjector(
  ref: string,
  folder: string,
  own: Tensors,
  layout: LlavaLayout,
  adapter: Adapter | null,
  asked: string | undefined,
  visionWidth: number,
  width: number,
): Promise<LoadStep[]> {
  if (adapter?.projector) return planProjector(adapter.folder, adapter.projector, visionWidth, width);
  const pairs = projectorPairs(visionWidth, width, layout);
  if (asked === undefined && pairs.some(({ stored }) => own.has(stored[0]!))) {
    const names = new Set(pairs.map(({ stored }) => stored[0]!));
    return planLoad(`the projector of ${ref}`, pairs, own, (name) => !names.has(name));
  }
  const file = asked ?? join(folder, 'mm_projector.bin');
  if (asked === undefined && !(await stat(file).catch(() => null))) {
    throw new KueaError(
      'projector_not_found',
      `expected a projector in ${ref}, in ${basename(file)} beside it or in the adapter, found none: name the file of a pretrained one ` +
        `with --projector`,
    );
  }
  return planProjector(file, projectorTensors((await readTensors(file)).tensors), visionWidth, width);
}

/** An adapter on a base that it was not trained on computes something else, and nothing shows it but worse answers. */
function checkBase(ref: string, { folder, trainedOn, base }: Adapter, here: TrainedOn, anyBase: boolean): void {
  const differ = (['language', 'vision'] as const).find((part) => trainedOn && trainedOn[part] !== here[part]);
  if (!differ || anyBase) return;
  const what = { language: 'language model', vision: 'vision tower' }[differ];
  const was = { language: base, vision: trainedOn!.visionTower }[differ];
  throw new KueaError(
    'wrong_base',
    `expected the ${what} that the adapter ${folder} was trained on${was ? `, ${was}` : ''} (fingerprint ` +
      `${trainedOn![differ].slice(0, 16)}), found another in ${ref} (${here[differ].slice(0, 16)}): name the right one, ` +
      'or add --any-base to take this one all the same',
  );
}
