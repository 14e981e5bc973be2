import { KueaError } from '../../errors.js';
import type { Tensors } from '../../files/tensors.js';
import type { ClipVisionArch } from '../../native/addon.js';
import type { Json } from '../model-folder.js';
import { layersOf, numberOf, shapeOf, sideOf } from '../shapes.js';
import type { ClipTextArch } from './keys.js';

type Activation = ClipVisionArch['activation'];

/** What the file itself says about a CLIP, if anything: heads and activation cannot be read off shapes. */
export interface ClipHints {
  heads?: number;
  activation?: Activation;
}

/** From Hugging Face's config.json (CLIPModel's, or a CLIPVisionModel's own). */
export function hfClipHints(config: Json): ClipHints {
  const vision = (config['vision_config'] ?? config) as Json;
  const activation = vision['hidden_act'] ?? 'quick_gelu';
  if (activation !== 'quick_gelu' && activation !== 'gelu')
    throw new KueaError('unsupported_model', `expected hidden_act quick_gelu or gelu in config.json, found ${String(activation)}`);
  return { heads: numberOf(vision, 'num_attention_heads', 12), activation };
}

/** From open_clip_config.json. */
export function openClipHints(config: Json): ClipHints {
  const model = (config['model_cfg'] ?? config) as Json;
  const vision = (model['vision_cfg'] ?? {}) as Json;
  if (typeof vision['timm_model_name'] === 'string')
    throw new KueaError('unsupported_model', `expected a CLIP vision transformer, found the timm tower ${vision['timm_model_name']}`);
  const width = numberOf(vision, 'width', 768);
  return { heads: width / numberOf(vision, 'head_width', 64), activation: model['quick_gelu'] === true ? 'quick_gelu' : 'gelu' };
}

/**
 * Shape of a CLIP vision tower from its tensors in OpenAI's or Hugging Face's names; heads = width / 64 unless the file says otherwise.
 * embedDim is 0 for a tower without a projection where `projection` allows that.
 */
export function clipVisionArch(
  ref: string,
  tensors: Tensors,
  layout: 'hf' | 'openai' | 'visual',
  hints: ClipHints & { activation: Activation },
  projection: 'needed' | 'optional',
): ClipVisionArch {
  const prefix = { hf: 'vision_model.', openai: 'visual.', visual: '' }[layout];
  const shape = (openai: string, hf: string) => shapeOf(tensors, layout === 'hf' ? hf : prefix + openai, ref);
  const [width = 0, , , patchSize = 0] = shape('conv1.weight', 'vision_model.embeddings.patch_embedding.weight');
  const tokens = shape('positional_embedding', 'vision_model.embeddings.position_embedding.weight')[0]!;
  const projName = layout === 'hf' ? 'visual_projection.weight' : `${prefix}proj`;
  const bare = projection === 'optional' && !tensors.has(projName);
  const heads = hints.heads ?? width / 64;
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
    throw new KueaError(
      'unsupported_model',
      `expected a number of heads that divides the width ${width}, found ${heads} for ${ref}: a folder with config.json says the ` +
        `true number`,
    );
  }
  return {
    family: 'clip',
    width,
    layers: layersOf(tensors, layout === 'hf' ? 'vision_model.encoder.layers.' : `${prefix}transformer.resblocks.`),
    heads,
    mlpWidth: shape('transformer.resblocks.0.mlp.c_fc.weight', 'vision_model.encoder.layers.0.mlp.fc1.weight')[0]!,
    patchSize,
    imageSize: sideOf(tokens - 1, ref) * patchSize,
    embedDim: bare ? 0 : shapeOf(tensors, projName, ref)[layout === 'hf' ? 0 : 1]!,
    activation: hints.activation,
  };
}

/** Shape of the text tower that a file carries, or null. */
export function clipTextArch(ref: string, tensors: Tensors, layout: 'hf' | 'openai'): ClipTextArch | null {
  const hf = layout === 'hf';
  const token = hf ? 'text_model.embeddings.token_embedding.weight' : 'token_embedding.weight';
  if (!tensors.has(token)) return null;
  const [vocabulary = 0, width = 0] = shapeOf(tensors, token, ref);
  return {
    width,
    vocabulary,
    layers: layersOf(tensors, hf ? 'text_model.encoder.layers.' : 'transformer.resblocks.'),
    mlpWidth: shapeOf(tensors, hf ? 'text_model.encoder.layers.0.mlp.fc1.weight' : 'transformer.resblocks.0.mlp.c_fc.weight', ref)[0]!,
    context: shapeOf(tensors, hf ? 'text_model.embeddings.position_embedding.weight' : 'positional_embedding', ref)[0]!,
    embedDim: hf ? shapeOf(tensors, 'text_projection.weight', ref)[0]! : shapeOf(tensors, 'text_projection', ref)[1]!,
  };
}
