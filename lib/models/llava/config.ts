import { KueaError, shown } from '../../errors.js';
import type { LlamaArch, LlavaSpec } from '../../native/addon.js';
import { count, type Demands, demand, positive, section } from '../config.js';
import type { Json } from '../model-folder.js';
import { checkedShape } from '../shapes.js';
import type { LlavaLayout } from './keys.js';

/** What config.json says of a LLaVA beyond its shapes. */
export interface LlavaConfig {
  llama: LlamaArch;
  /** Tokens that the language model was made for: question, image and answer. */
  context: number;
  /** 'pad': images are squared before they are resized; null: the image processor's config says. */
  aspect: 'pad' | 'crop' | null;
  /** The CLIP that belongs to it, when it is not in the file: a hub id or a path. */
  visionTower: string | null;
  /** Id that marks an image feature (llava-hf); the original has none. */
  imageToken: number | undefined;
  /** Absent where a config does not come from here. */
  feature: LlavaSpec['feature'] | undefined;
}

/** Characters of a path at most; what systems take is 4096 bytes. */
const longestPath = 1024;

/** Says in a config of ours that features go through ln_post, which LLaVA's own keys cannot say. */
export const featureKey = 'kuea_vision_feature';

const language: Demands = {
  hidden_act: ['silu', undefined],
  rope_scaling: [undefined, null],
  attention_bias: [false, undefined, null],
  mlp_bias: [false, undefined, null],
  tie_word_embeddings: [false, undefined, null],
  quantization_config: [undefined, null],
};

const original: Demands = {
  mm_projector_type: ['mlp2x_gelu'],
  mm_use_im_start_end: [false, undefined, null],
  mm_vision_select_layer: [-2],
  mm_vision_select_feature: ['patch', undefined],
  mm_resampler_type: [undefined, null],
  mm_patch_merge_type: ['flat', undefined, null],
  image_aspect_ratio: ['pad', 'square', undefined, null],
  s2: [false, undefined, null],
  [featureKey]: [undefined, 'hidden', 'ln_post'],
};

const hf: Demands = {
  projector_hidden_act: ['gelu', undefined],
  multimodal_projector_bias: [true, undefined],
  vision_feature_layer: [-2, undefined],
  vision_feature_select_strategy: ['default', undefined],
  tie_word_embeddings: [false, undefined, null],
  quantization_config: [undefined, null],
};

const check = (ref: string, config: Json, demands: Demands): void =>
  demand(`config.json of ${ref}`, config, demands, 'kuea-lora computes what LLaVA-1.5 does, and no variants');

/** RoPE's base: `rope_theta`, in newer configs within `rope_parameters`, of which only the default kind is known here. */
function ropeTheta(ref: string, config: Json): number {
  const parameters = section(`config.json of ${ref}`, config, 'rope_parameters');
  const { rope_type: type = 'default', rope_theta: theta, ...rest } = parameters;
  if (type !== 'default' || Object.keys(rest).length > 0)
    throw new KueaError('unsupported_model', `expected RoPE without scaling in config.json of ${ref}, found ${shown(parameters)}`);
  return positive(`config.json of ${ref}`, { rope_theta: theta ?? config['rope_theta'] }, 'rope_theta', 10000);
}

/** Longest sequence, with LlamaConfig's default. */
const contextOf = (ref: string, config: Json) => positive(ref, config, 'max_position_embeddings', 2048);

/** A LLaMA's shape from its config, with Hugging Face's LlamaConfig's defaults. */
function llamaArch(ref: string, config: Json): LlamaArch {
  check(ref, config, language);
  const where = `config.json of ${ref}`;
  const [width, heads] = [count(where, config, 'hidden_size', 4096), count(where, config, 'num_attention_heads', 32)];
  check(ref, config, { num_key_value_heads: [heads, undefined, null], head_dim: [width / heads, undefined, null] });
  const shape = checkedShape<LlamaArch>(ref, {
    family: 'llama',
    width,
    heads,
    layers: count(where, config, 'num_hidden_layers', 32),
    mlpWidth: count(where, config, 'intermediate_size', 11008),
    vocabulary: count(where, config, 'vocab_size', 32000),
    rmsNormEps: positive(where, config, 'rms_norm_eps', 1e-6),
    ropeTheta: ropeTheta(ref, config),
  });
  // RoPE turns pairs.
  if ((width / heads) % 2 === 1)
    throw new KueaError('unsupported_model', `expected heads of an even width in ${where}, found ${width} cut into ${heads}`);
  return shape;
}

/**
 * Reads config.json. In the original layout the language model may be a bare LLaMA; what belongs to images then stands in `fallback`, the
 * config beside an adapter. Throws KueaError `unsupported_model` for what is not LLaVA-1.5, `bad_config`.
 */
export function readLlavaConfig(ref: string, config: Json, layout: LlavaLayout, fallback: Json | null): LlavaConfig {
  if (layout !== 'original') {
    const where = `config.json of ${ref}`;
    const text = section(where, config, 'text_config');
    check(ref, config, { model_type: ['llava'], ...hf });
    check(ref, text, { model_type: ['llama', undefined] });
    check(ref, section(where, config, 'vision_config'), { model_type: ['clip_vision_model', undefined] });
    return {
      llama: llamaArch(ref, text),
      context: contextOf(ref, text),
      aspect: null,
      visionTower: null,
      imageToken: count(where, config, config['image_token_id'] === undefined ? 'image_token_index' : 'image_token_id', 32000),
      feature: undefined,
    };
  }
  check(ref, config, { model_type: ['llava', 'llava_llama', 'llava-l', 'llama'] });
  const llama = llamaArch(ref, config);
  const images = config['model_type'] === 'llama' ? fallback : config;
  const context = contextOf(ref, config);
  if (!images) return { llama, context, aspect: 'pad', visionTower: null, imageToken: undefined, feature: undefined };
  check(ref, images, original);
  const tower = images['mm_vision_tower'];
  if (typeof tower === 'string' && (tower.length > longestPath || /\p{Cc}/u.test(tower)))
    throw new KueaError('bad_config', `expected a path or a hub id for mm_vision_tower in config.json of ${ref}, found ${shown(tower)}`);
  return {
    llama,
    context,
    aspect: images['image_aspect_ratio'] === 'pad' ? 'pad' : 'crop',
    visionTower: typeof tower === 'string' ? tower : null,
    imageToken: undefined,
    feature: images[featureKey] as LlavaSpec['feature'] | undefined,
  };
}
