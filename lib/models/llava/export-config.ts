import type { Json } from '../model-folder.js';
import { featureKey } from './config.js';
import type { LlavaWeights } from './open.js';

/** torch's names of dtypes. */
const torchDtypes = { F64: 'float64', F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** LLaVA's own keys of config.json, and one of ours for what they cannot say. */
function imageSettings({ image, tower, model }: LlavaWeights): Json {
  return {
    ...(tower.ref === null ? {} : { mm_vision_tower: tower.ref }),
    ...(model.feature === 'ln_post' ? { [featureKey]: 'ln_post' } : {}),
    mm_hidden_size: model.vision.width,
    mm_projector_type: 'mlp2x_gelu',
    mm_vision_select_layer: -2,
    mm_vision_select_feature: 'patch',
    mm_use_im_start_end: false,
    mm_use_im_patch_token: false,
    image_aspect_ratio: image.aspect === 'pad' ? 'pad' : 'square',
    mm_resampler_type: null,
    mm_patch_merge_type: 'flat',
    use_mm_proj: true,
  };
}

function languageSettings({ model: { llama }, dtype }: LlavaWeights): Json {
  return {
    hidden_size: llama.width,
    num_hidden_layers: llama.layers,
    num_attention_heads: llama.heads,
    num_key_value_heads: llama.heads,
    intermediate_size: llama.mlpWidth,
    vocab_size: llama.vocabulary,
    rms_norm_eps: llama.rmsNormEps,
    rope_theta: llama.ropeTheta,
    rope_scaling: null,
    hidden_act: 'silu',
    max_position_embeddings: 4096,
    tie_word_embeddings: false,
    attention_bias: false,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
    torch_dtype: torchDtypes[dtype],
  };
}

/**
 * config.json of the original layout: the base's, if that is of this layout too, with the tower and the image settings that are in force.
 */
export function originalConfig(llava: LlavaWeights, vocabulary = llava.model.llama.vocabulary): Json {
  const { layout, config } = llava;
  const keeps = layout === 'original' && config['model_type'] !== 'llama';
  return {
    ...(layout === 'original' ? config : languageSettings(llava)),
    vocab_size: vocabulary,
    architectures: ['LlavaLlamaForCausalLM'],
    model_type: keeps ? config['model_type'] : 'llava_llama',
    ...imageSettings(llava),
  };
}

/**
 * config.json for transformers' LlavaForConditionalGeneration, of a language model with `rows` embeddings of which `imageToken` marks an
 * image feature.
 */
export function hfConfig(llava: LlavaWeights, rows: number, imageToken: number): Json {
  const { config, layout, model, patches, dtype } = llava;
  const { width, layers, heads, mlpWidth, patchSize, imageSize, embedDim, activation } = model.vision;
  const source = (layout === 'original' ? config : (config['text_config'] ?? {})) as Json;
  const length = source['max_position_embeddings'];
  return {
    architectures: ['LlavaForConditionalGeneration'],
    model_type: 'llava',
    image_token_index: imageToken,
    image_seq_length: patches,
    ignore_index: -100,
    pad_token_id: imageToken + 1,
    projector_hidden_act: 'gelu',
    vision_feature_layer: -2,
    vision_feature_select_strategy: 'default',
    tie_word_embeddings: false,
    torch_dtype: torchDtypes[dtype],
    text_config: {
      ...languageSettings(llava),
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      vocab_size: rows,
      ...(length === undefined ? {} : { max_position_embeddings: length }),
    },
    vision_config: {
      model_type: 'clip_vision_model',
      hidden_size: width,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      intermediate_size: mlpWidth,
      patch_size: patchSize,
      image_size: imageSize,
      hidden_act: activation,
      layer_norm_eps: 1e-5,
      projection_dim: embedDim > 0 ? embedDim : width,
      num_channels: 3,
    },
  };
}
