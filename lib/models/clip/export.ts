import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import { copyCompanions, writeJson } from '../../files/output.js';
import { buildHeader } from '../../files/safetensors.js';
import type { ClipVisionArch, TensorBytes, WriteStep } from '../../native/addon.js';
import { identity, type KeyPair, rowsOf, storedShape } from '../key-map.js';
import type { Kind, TextTower, WeightsFile, Write } from '../kind.js';
import { fileMetadata } from '../own-metadata.js';
import { textPairs, visionPairs } from './keys.js';
import { textHeadsKey } from './text.js';

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
function textEntries(text: TextTower, target: 'hf' | 'openai'): Entry[] {
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

/** `further` is metadata that this layout needs. */
async function writeFileOf(
  entries: Entry[],
  weights: WeightsFile,
  file: string,
  write: Write,
  further: Record<string, string> = {},
): Promise<void> {
  const header = buildHeader(
    entries.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
    { ...fileMetadata(weights), ...further },
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
      num_attention_heads: t.heads,
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
              heads: t.heads,
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
  await mkdir(folder);
  const text = weights.text ? textEntries(weights.text, 'hf') : [];
  await writeFileOf([...visionEntries(visionPairs(arch)), ...text], weights, join(folder, 'model.safetensors'), write);
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
  await mkdir(folder);
  await writeOpenAi(weights, join(folder, 'open_clip_model.safetensors'), write);
  await writeJson(folder, 'open_clip_config.json', openClipConfig(weights));
}

async function writeOpenAi(weights: WeightsFile, file: string, write: Write): Promise<void> {
  const arch = weights.arch as ClipVisionArch;
  const vision = visionEntries(identity(visionPairs(arch))).map((entry) => ({ ...entry, name: `visual.${entry.name}` }));
  const { text } = weights;
  if (!text) return writeFileOf(vision, weights, file, write);
  // There is no config beside it that says it.
  await writeFileOf([...vision, ...textEntries(text, 'openai')], weights, file, write, { [textHeadsKey]: String(text.arch.heads) });
}

async function writeVisual(weights: WeightsFile, file: string, write: Write): Promise<void> {
  const arch = weights.arch as ClipVisionArch;
  await writeFileOf(visionEntries(identity(visionPairs(arch))), weights, file, write);
}

/** fp32: the vision tower from the addon's parameters, text tower and companions from where the weights came from. */
export const clipExports: Kind['exports'] = { hf: writeHf, open_clip: writeOpenClip, openai: writeOpenAi, visual: writeVisual };
