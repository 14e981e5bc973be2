import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import { isHubId } from '../../files/hub/fetch.js';
import type { ClipVisionArch, LlamaArch } from '../../native/addon.js';
import { hfClipHints } from '../clip/shape.js';
import { fetchModel } from '../fetch-model.js';
import { type Json, readJson } from '../model-folder.js';
import { readLlavaConfig } from './config.js';

/** A LLaVA's shape as its config.json has it, for a plan: no weights are looked at. */
export interface LlavaShape {
  llama: LlamaArch;
  vision: ClipVisionArch;
  imageToken: number | undefined;
  /** What was not there to be read, each a sentence. */
  notes: string[];
}

/** openai/clip-vit-large-patch14-336, LLaVA-1.5's tower. */
const usualTower: ClipVisionArch = {
  family: 'clip',
  width: 1024,
  layers: 24,
  heads: 16,
  mlpWidth: 4096,
  patchSize: 14,
  imageSize: 336,
  embedDim: 768,
  activation: 'quick_gelu',
};

/** A CLIP vision tower's shape from its config, with Hugging Face's CLIPVisionConfig's defaults. */
function clipShape(config: Json): ClipVisionArch {
  const vision = (config['vision_config'] ?? config) as Json;
  const { heads = 12, activation = 'quick_gelu' } = hfClipHints(config);
  const count = (key: string, otherwise: number) => (typeof vision[key] === 'number' ? vision[key] : otherwise);
  return {
    family: 'clip',
    heads,
    activation,
    width: count('hidden_size', 768),
    layers: count('num_hidden_layers', 12),
    mlpWidth: count('intermediate_size', 3072),
    patchSize: count('patch_size', 32),
    imageSize: count('image_size', 224),
    embedDim: count('projection_dim', 512),
  };
}

async function modelConfig(ref: string): Promise<Json> {
  const local = await stat(ref).catch(() => null);
  const folder = !local && isHubId(ref) ? await fetchModel(ref, { files: 'config' }) : ref;
  const config = await readJson(folder, 'config.json');
  if (!config)
    throw new KueaError(
      'bad_config',
      `expected a folder with config.json, or a hub id, found none at ${ref}: a dry run needs that file alone`,
    );
  return config;
}

/**
 * Reads a LLaVA's shape; `tower` is a separate one's folder. Throws KueaError `bad_config`, `unsupported_model`, and what fetchModel
 * throws.
 */
export async function readLlavaShape(ref: string, tower: string | undefined): Promise<LlavaShape> {
  const config = await modelConfig(ref);
  const { llama, visionTower, imageToken } = readLlavaConfig(
    ref,
    config,
    config['text_config'] === undefined ? 'original' : 'hf-old',
    null,
  );
  const notes: string[] = [];
  const named = tower ?? (config['vision_config'] === undefined ? (visionTower ?? undefined) : undefined);
  let vision: ClipVisionArch | undefined;
  if (named === undefined) {
    if (config['vision_config'] !== undefined) vision = clipShape(config);
    else notes.push("no tower is named: taken to be LLaVA-1.5's, a CLIP ViT-L/14 at 336 pixels");
  } else {
    const found = (await readJson(named, 'config.json')) ?? (await readJson(join(ref, named), 'config.json'));
    if (found) vision = clipShape(found);
    else notes.push(`the tower ${named} is not here: taken to be LLaVA-1.5's, a CLIP ViT-L/14 at 336 pixels`);
  }
  return { llama, vision: vision ?? usualTower, imageToken, notes };
}
