import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import type { ClipVisionArch, LlamaArch } from '../../native/addon.js';
import { clipShapeOfConfig } from '../clip/shape.js';
import { type Json, readJson } from '../model-folder.js';
import { readConfigs } from '../read-configs.js';
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
export const usualTower: ClipVisionArch = {
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

async function modelConfig(ref: string): Promise<Json> {
  const { config } = await readConfigs(ref);
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
    if (config['vision_config'] !== undefined) vision = clipShapeOfConfig(ref, config);
    else notes.push("no tower is named: taken to be LLaVA-1.5's, a CLIP ViT-L/14 at 336 pixels");
  } else {
    const found = (await readJson(named, 'config.json')) ?? (await readJson(join(ref, named), 'config.json'));
    if (found) vision = clipShapeOfConfig(named, found);
    else notes.push(`the tower ${named} is not here: taken to be LLaVA-1.5's, a CLIP ViT-L/14 at 336 pixels`);
  }
  return { llama, vision: vision ?? usualTower, imageToken, notes };
}
