import { KueaError } from '../errors.js';
import type { ClipVisionArch, Dinov2Arch } from '../native/addon.js';
import type { ClipTextArch } from './keys-clip.js';
import type { StoredTensor, Tensors } from './key-map.js';

type Json = Record<string, unknown>;
type Activation = ClipVisionArch['activation'];

function shapeOf(tensors: Tensors, name: string, ref: string): number[] {
  const tensor: StoredTensor | undefined = tensors.get(name);
  if (!tensor) throw new KueaError('bad_weights', `expected a tensor ${name} in ${ref}, found none`);
  return tensor.shape;
}

/** One past the highest N of the names `prefix`N.`...`. */
function layersOf(tensors: Tensors, prefix: string): number {
  let layers = 0;
  for (const name of tensors.keys()) {
    if (name.startsWith(prefix)) layers = Math.max(layers, Number.parseInt(name.slice(prefix.length), 10) + 1);
  }
  return layers;
}

function sideOf(tokens: number, ref: string): number {
  const side = Math.sqrt(tokens);
  if (!Number.isInteger(side)) throw new KueaError('bad_weights', `expected position embeddings of a square grid in ${ref}, found ${tokens} patches`);
  return side;
}

const number = (config: Json, key: string, fallback: number): number => (typeof config[key] === 'number' ? config[key] : fallback);

/** What the file itself says about a CLIP, if anything: heads and activation cannot be read off shapes. */
export interface ClipHints {
  heads?: number;
  activation?: Activation;
}

/** From Hugging Face's config.json (CLIPModel's, or a CLIPVisionModel's own). */
export function hfClipHints(config: Json): ClipHints {
  const vision = (config['vision_config'] ?? config) as Json;
  const activation = vision['hidden_act'] ?? 'quick_gelu';
  if (activation !== 'quick_gelu' && activation !== 'gelu') throw new KueaError('unsupported_model', `expected hidden_act quick_gelu or gelu in config.json, found ${String(activation)}`);
  return { heads: number(vision, 'num_attention_heads', 12), activation };
}

/** From open_clip_config.json. */
export function openClipHints(config: Json): ClipHints {
  const model = (config['model_cfg'] ?? config) as Json;
  const vision = (model['vision_cfg'] ?? {}) as Json;
  if (typeof vision['timm_model_name'] === 'string') throw new KueaError('unsupported_model', `expected a CLIP vision transformer, found the timm tower ${vision['timm_model_name']}`);
  const width = number(vision, 'width', 768);
  return { heads: width / number(vision, 'head_width', 64), activation: model['quick_gelu'] === true ? 'quick_gelu' : 'gelu' };
}

/**
 * Shape of a CLIP vision tower from its tensors in OpenAI's or Hugging Face's names; heads = width / 64 unless the file says otherwise. embedDim is 0 for a tower
 * without a projection where `projection` allows that.
 */
export function clipVisionArch(
  ref: string, tensors: Tensors, layout: 'hf' | 'openai' | 'visual', hints: ClipHints & { activation: Activation }, projection: 'needed' | 'optional',
): ClipVisionArch {
  const prefix = { hf: 'vision_model.', openai: 'visual.', visual: '' }[layout];
  const shape = (openai: string, hf: string) => shapeOf(tensors, layout === 'hf' ? hf : prefix + openai, ref);
  const [width = 0, , , patchSize = 0] = shape('conv1.weight', 'vision_model.embeddings.patch_embedding.weight');
  const tokens = shape('positional_embedding', 'vision_model.embeddings.position_embedding.weight')[0]!;
  const projName = layout === 'hf' ? 'visual_projection.weight' : `${prefix}proj`;
  const bare = projection === 'optional' && !tensors.has(projName);
  const heads = hints.heads ?? width / 64;
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
    throw new KueaError('unsupported_model', `expected a number of heads that divides the width ${width}, found ${heads} for ${ref}: a folder with config.json says the true number`);
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

/**
 * Shape of a DINOv2 from its tensors and, when there is one, Hugging Face's config.json. pos_embed is resampled as its upstream does: Hugging Face's
 * Dinov2 by size, the hub's by a factor with an offset, either with registers antialiased.
 */
export function dinov2Arch(ref: string, tensors: Tensors, layout: 'hf' | 'hub', config: Json | null): Dinov2Arch {
  const hf = layout === 'hf';
  const shape = (hub: string, theirs: string) => shapeOf(tensors, hf ? theirs : hub, ref);
  const [width = 0, , , patchSize = 0] = shape('patch_embed.proj.weight', 'embeddings.patch_embeddings.projection.weight');
  const tokens = shape('pos_embed', 'embeddings.position_embeddings')[1]!;
  const swiglu = tensors.has(hf ? 'encoder.layer.0.mlp.weights_in.weight' : 'blocks.0.mlp.w12.weight');
  const registerName = hf ? 'embeddings.register_tokens' : 'register_tokens';
  const registers = tensors.has(registerName) ? shapeOf(tensors, registerName, ref)[1]! : 0;
  const second = swiglu ? shape('blocks.0.mlp.w3.weight', 'encoder.layer.0.mlp.weights_out.weight') : shape('blocks.0.mlp.fc2.weight', 'encoder.layer.0.mlp.fc2.weight');
  return {
    family: 'dinov2',
    width,
    layers: layersOf(tensors, hf ? 'encoder.layer.' : 'blocks.'),
    heads: config ? number(config, 'num_attention_heads', width / 64) : width / 64,
    mlpWidth: second[1]!,
    ffn: swiglu ? 'swiglu' : 'mlp',
    patchSize,
    imageSize: sideOf(tokens - 1, ref) * patchSize,
    registers,
    interpolation: registers > 0 ? 'antialias' : hf ? 'size' : 'offset',
  };
}
