import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import { copyCompanions, writeJson, writeWhole } from '../../files/output.js';
import { buildHeader } from '../../files/safetensors.js';
import type { ClipVisionArch, TensorBytes, WriteStep } from '../../native/addon.js';
import { identity, type KeyPair, rowsOf, storedShape } from '../key-map.js';
import type { WeightsFile } from '../open.js';
import { textPairs, visionPairs } from './keys.js';

/**
 * Layouts of an export: a Hugging Face folder, an open_clip folder, OpenAI's names in one file, and the vision tower's own state dict in
 * one file.
 */
export const exportLayouts = ['hf', 'open_clip', 'openai', 'visual'] as const;
export type ExportLayout = (typeof exportLayouts)[number];

/** Writes header and tensors; NativeTrainer.write or NativeEncoder.write. */
export type Write = (file: string, header: Uint8Array, steps: WriteStep[]) => Promise<void>;

/** One tensor of the file to come; several steps follow each other in it (q, k and v become a fused map). */
interface Entry {
  name: string;
  shape: number[];
  steps: WriteStep[];
}

/** The vision tower: from parameters of the addon. */
function visionEntries(pairs: readonly KeyPair[]): Entry[] {
  return pairs.flatMap((pair) => {
    const shape = storedShape(pair);
    return pair.stored.map((name, part) => {
      const step: WriteStep = { parameter: pair.name };
      if (pair.stored.length > 1) Object.assign(step, { row: part * shape[0]!, rows: shape[0]! });
      if (pair.transpose) step.transpose = true;
      return { name, shape, steps: [step] };
    });
  });
}

/** The text tower: from the file that it came in, whose layout may be the other one. */
function textEntries(text: NonNullable<WeightsFile['text']>, target: 'hf' | 'openai'): Entry[] {
  const source = (name: string): TensorBytes => {
    const tensor = text.tensors.get(name);
    if (!tensor)
      throw new KueaError('bad_weights', `expected the text tower to have ${name}, found none: export --to visual does without it`);
    return tensor;
  };
  return textPairs(text.arch).flatMap((pair): Entry[] => {
    const { name, stored, shape, transpose } = pair;
    const part = storedShape(pair);
    const swap = transpose && text.layout !== target ? { transpose } : {};
    if (target === 'openai') {
      return [{ name, shape, steps: (text.layout === 'openai' ? [name] : stored).map((key) => ({ source: source(key), ...swap })) }];
    }
    return stored.map((key, i) => {
      const whole = text.layout === 'hf' ? source(key) : source(name);
      const from = text.layout === 'hf' || stored.length === 1 ? whole : rowsOf(whole, i * part[0]!, part[0]!);
      return { name: key, shape: part, steps: [{ source: from, ...swap }] };
    });
  });
}

/** What is kept in the metadata of every file that we write: the activation, which no shape shows. */
const metadataOf = (arch: ClipVisionArch) => ({ format: 'pt', quick_gelu: String(arch.activation === 'quick_gelu') });

async function writeFileOf(entries: Entry[], arch: ClipVisionArch, file: string, write: Write): Promise<void> {
  const header = buildHeader(
    entries.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
    metadataOf(arch),
  );
  await write(
    file,
    header,
    entries.flatMap(({ steps }) => steps),
  );
}

function hfConfig({ arch, text }: WeightsFile): Record<string, unknown> {
  const { width, layers, heads, mlpWidth, patchSize, imageSize, embedDim, activation } = arch as ClipVisionArch;
  const common = { hidden_act: activation, layer_norm_eps: 1e-5, projection_dim: embedDim };
  const vision = {
    ...common,
    model_type: 'clip_vision_model',
    hidden_size: width,
    intermediate_size: mlpWidth,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    patch_size: patchSize,
    image_size: imageSize,
    num_channels: 3,
  };
  if (!text) return { architectures: ['CLIPVisionModelWithProjection'], torch_dtype: 'float32', ...vision };
  const t = text.arch;
  return {
    architectures: ['CLIPModel'],
    model_type: 'clip',
    projection_dim: embedDim,
    logit_scale_init_value: 2.6592,
    torch_dtype: 'float32',
    vision_config: vision,
    text_config: {
      ...common,
      model_type: 'clip_text_model',
      hidden_size: t.width,
      intermediate_size: t.mlpWidth,
      num_hidden_layers: t.layers,
      num_attention_heads: Math.max(1, t.width / 64),
      max_position_embeddings: t.context,
      vocab_size: t.vocabulary,
      bos_token_id: t.vocabulary - 2,
      eos_token_id: t.vocabulary - 1,
      pad_token_id: 1,
    },
  };
}

function preprocessorConfig({ mean, std, preprocessing }: WeightsFile): Record<string, unknown> {
  const { resize, crop } = preprocessing;
  return {
    image_processor_type: 'CLIPImageProcessor',
    do_resize: true,
    size: { shortest_edge: resize },
    resample: 3,
    do_center_crop: true,
    crop_size: { height: crop, width: crop },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: mean,
    image_std: std,
    do_convert_rgb: true,
  };
}

function openClipConfig({ arch, text, mean, std }: WeightsFile): Record<string, unknown> {
  const { width, layers, heads, mlpWidth, patchSize, imageSize, embedDim, activation } = arch as ClipVisionArch;
  const t = text?.arch;
  return {
    model_cfg: {
      embed_dim: embedDim,
      quick_gelu: activation === 'quick_gelu',
      vision_cfg: { image_size: imageSize, layers, width, head_width: width / heads, mlp_ratio: mlpWidth / width, patch_size: patchSize },
      ...(t
        ? {
            text_cfg: {
              context_length: t.context,
              vocab_size: t.vocabulary,
              width: t.width,
              heads: Math.max(1, t.width / 64),
              layers: t.layers,
            },
          }
        : {}),
    },
    preprocess_cfg: { mean, std },
  };
}

const companions = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'vocab.json', 'merges.txt'];

async function writeHf(weights: WeightsFile, folder: string, write: Write): Promise<void> {
  const arch = weights.arch as ClipVisionArch;
  const text = weights.text ? textEntries(weights.text, 'hf') : [];
  await writeFileOf([...visionEntries(visionPairs(arch)), ...text], arch, join(folder, 'model.safetensors'), write);
  // A Hugging Face source keeps its own config: it may say more than we know. Changed as text, since parsing turns 1.0 into 1, which
  // transformers refuses.
  const config =
    weights.folder && weights.layout === 'hf' ? await readFile(join(weights.folder, 'config.json'), 'utf8').catch(() => null) : null;
  if (config) await writeFile(join(folder, 'config.json'), config.replaceAll(/("(?:torch_)?dtype"\s*:\s*)"[^"]*"/g, '$1"float32"'));
  else await writeJson(folder, 'config.json', hfConfig(weights));
  await writeJson(folder, 'preprocessor_config.json', preprocessorConfig(weights));
  if (weights.folder) await copyCompanions(weights.folder, folder, companions);
}

async function writeOpenClip(weights: WeightsFile, folder: string, write: Write): Promise<void> {
  if (!weights.text)
    throw new KueaError(
      'no_text_tower',
      `expected a CLIP with its text tower for the open_clip layout, found the vision tower alone in ${weights.ref}: use --to hf or visual`,
    );
  await writeOpenAi(weights, join(folder, 'open_clip_model.safetensors'), write);
  await writeJson(folder, 'open_clip_config.json', openClipConfig(weights));
}

async function writeOpenAi(weights: WeightsFile, file: string, write: Write): Promise<void> {
  const arch = weights.arch as ClipVisionArch;
  const vision = visionEntries(identity(visionPairs(arch))).map((entry) => ({ ...entry, name: `visual.${entry.name}` }));
  await writeFileOf([...vision, ...(weights.text ? textEntries(weights.text, 'openai') : [])], arch, file, write);
}

async function writeVisual(weights: WeightsFile, file: string, write: Write): Promise<void> {
  const arch = weights.arch as ClipVisionArch;
  await writeFileOf(visionEntries(identity(visionPairs(arch))), arch, file, write);
}

/**
 * Writes a CLIP in a layout, fp32: vision tower from the addon's parameters, text tower and companions from where `weights` came from. `hf`
 * and `open_clip` make the folder `out`, `openai` and `visual` the file `out`. Made beside its name and renamed, so `out` is whole or
 * absent. Throws KueaError `not_exportable`, `no_text_tower`, `exists`, and what writing throws (`disk_full`).
 */
export async function exportWeights(weights: WeightsFile, layout: ExportLayout, out: string, write: Write): Promise<void> {
  if (weights.arch.family !== 'clip') throw new KueaError('not_exportable', `expected a CLIP to export, found a DINOv2 in ${weights.ref}`);
  await writeWhole(out, async (made) => {
    if (layout === 'hf' || layout === 'open_clip') await mkdir(made);
    await { hf: writeHf, open_clip: writeOpenClip, openai: writeOpenAi, visual: writeVisual }[layout](weights, made, write);
  });
}
