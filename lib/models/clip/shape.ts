import { KueaError, shown } from '../../errors.js';
import type { Tensors } from '../../files/tensors.js';
import type { ClipVisionArch } from '../../native/addon.js';

import { count, type Demands, demand, otherwiseWrong, positive, section } from '../config.js';
import type { ModelFile, ShapeOptions } from '../kind.js';

import type { Json } from '../model-folder.js';
import { checkedShape, layersOf, shapeOf, sideOf } from '../shapes.js';
import type { ClipLayout } from './keys.js';

type Activation = ClipVisionArch['activation'];

/** What the file itself says about a CLIP, if anything: heads and activation cannot be read off shapes. */
export interface ClipHints {
  heads?: number;
  activation?: Activation;
}

/** Of a vision tower in Hugging Face's config.json. */
const hfDemands: Demands = { layer_norm_eps: [1e-5, undefined], num_channels: [3, undefined] };

/** Of `vision_cfg` in open_clip_config.json: how tokens become one embedding, and blocks of other kinds. */
const openClipDemands: Demands = {
  pool_type: ['tok', undefined, null],
  global_average_pool: [false, undefined, null],
  attentional_pool: [false, undefined, null],
  no_ln_pre: [false, undefined, null],
  ls_init_value: [undefined, null],
  norm_kwargs: [undefined, null, {}, { eps: 1e-5 }],
  act_kwargs: [undefined, null, {}],
};

const visionOf = (config: Json): Json => (config['vision_config'] === undefined ? config : section('config.json', config, 'vision_config'));

/** From Hugging Face's config.json (CLIPModel's, or a CLIPVisionModel's own). */
export function hfClipHints(config: Json): Required<ClipHints> {
  const vision = visionOf(config);
  demand('config.json', vision, hfDemands, otherwiseWrong);
  const activation = vision['hidden_act'] ?? 'quick_gelu';
  if (activation !== 'quick_gelu' && activation !== 'gelu')
    throw new KueaError('unsupported_model', `expected hidden_act quick_gelu or gelu in config.json, found ${shown(activation)}`);
  return { heads: count('config.json', vision, 'num_attention_heads', 12), activation };
}

interface OpenClipConfig extends Required<ClipHints> {
  vision: Json;
  model: Json;
  width: number;
}

/** Of open_clip_config.json. */
function readOpenClip(config: Json): OpenClipConfig {
  const where = 'open_clip_config.json';
  const model = config['model_cfg'] === undefined ? config : section(where, config, 'model_cfg');
  const vision = section(where, model, 'vision_cfg');
  if (typeof vision['timm_model_name'] === 'string')
    throw new KueaError(
      'unsupported_model',
      `expected a CLIP vision transformer, found the timm tower ${shown(vision['timm_model_name'])}`,
    );
  demand(where, vision, openClipDemands, otherwiseWrong);
  const width = count(where, vision, 'width', 768);
  return {
    vision,
    model,
    width,
    heads: width / count(where, vision, 'head_width', 64),
    activation: model['quick_gelu'] === true ? 'quick_gelu' : 'gelu',
  };
}

/** From what stands beside the weights in a file of this layout. */
function hintsOf({ config, openClip }: ModelFile, layout: ClipLayout): ClipHints {
  if (layout === 'hf' && config) return hfClipHints(config);
  return openClip ? readOpenClip(openClip) : {};
}

/** The activation of a CLIP: what the file says, else what the caller says, else what this kind of file has always had. */
function activationOf(
  ref: string,
  said: Activation | undefined,
  asked: Activation | undefined,
  fallback: Activation | undefined,
): Activation {
  if (said && asked && said !== asked) {
    throw new KueaError(
      'activation_mismatch',
      `${ref} says that its activation is ${said}, but ${asked} was asked for: with the wrong one a CLIP silently loses accuracy; leave ` +
        `--activation out`,
    );
  }
  const activation = said ?? asked ?? fallback;
  if (!activation)
    throw new KueaError(
      'activation_unknown',
      `${ref} does not say its activation: add --activation quick_gelu (OpenAI, MetaCLIP, DFN) or --activation gelu (most LAION and ` +
        `DataComp models)`,
    );
  return activation;
}

/** What no shape shows, as metadata of every file that we write. */
export const clipMetadata = ({ activation, heads }: ClipVisionArch): Record<string, string> => ({
  quick_gelu: String(activation === 'quick_gelu'),
  heads: String(heads),
});

/** Shape of a CLIP's vision tower. */
export function clipShape(file: ModelFile, layout: ClipLayout, { activation: asked, projection }: ShapeOptions): ClipVisionArch {
  const { ref, path, metadata } = file;
  const hints = hintsOf(file, layout);
  const tagged = metadata['quick_gelu'];
  const said = tagged === undefined ? hints.activation : tagged === 'true' ? 'quick_gelu' : 'gelu';
  if (hints.activation && said !== hints.activation)
    throw new KueaError(
      'activation_mismatch',
      `${path} was written with ${said}, but the config beside it says ${hints.activation}: one of the two is wrong`,
    );
  // OpenAI's archives and the published code's files have QuickGELU; an open_clip state dict alone may have either.
  const fallback = file.torchScript || layout === 'visual' ? 'quick_gelu' : undefined;
  const heads = hints.heads ?? (metadata['heads'] === undefined ? undefined : Number(metadata['heads']));
  const activation = activationOf(ref, said, asked, fallback);
  return clipVisionArch(ref, file.tensors, layout, { ...(heads === undefined ? {} : { heads }), activation }, projection);
}

/**
 * Shape of a CLIP vision tower from its tensors in OpenAI's or Hugging Face's names; heads = width / 64 unless the file says otherwise.
 * embedDim is 0 for a tower without a projection where `projection` allows that.
 */
export function clipVisionArch(
  ref: string,
  tensors: Tensors,
  layout: ClipLayout,
  hints: ClipHints & { activation: Activation },
  projection: ShapeOptions['projection'],
): ClipVisionArch {
  const prefix = { hf: 'vision_model.', openai: 'visual.', visual: '' }[layout];
  const shape = (openai: string, hf: string, rank: number) => shapeOf(tensors, layout === 'hf' ? hf : prefix + openai, ref, rank);
  const [width = 0, , , patchSize = 0] = shape('conv1.weight', 'vision_model.embeddings.patch_embedding.weight', 4);
  const tokens = shape('positional_embedding', 'vision_model.embeddings.position_embedding.weight', 2)[0]!;
  const projName = layout === 'hf' ? 'visual_projection.weight' : `${prefix}proj`;
  const bare = projection === 'optional' && !tensors.has(projName);
  return checkedShape(ref, {
    family: 'clip',
    width,
    layers: layersOf(tensors, layout === 'hf' ? 'vision_model.encoder.layers.' : `${prefix}transformer.resblocks.`),
    heads: hints.heads ?? width / 64,
    mlpWidth: shape('transformer.resblocks.0.mlp.c_fc.weight', 'vision_model.encoder.layers.0.mlp.fc1.weight', 2)[0]!,
    patchSize,
    imageSize: sideOf(tokens - 1, ref) * patchSize,
    embedDim: bare ? 0 : shapeOf(tensors, projName, ref, 2)[layout === 'hf' ? 0 : 1]!,
    activation: hints.activation,
  });
}

/** A vision tower's shape from its part of config.json, with Hugging Face's CLIPVisionConfig's defaults; `whole` is all of config.json. */
export function clipShapeOfConfig(ref: string, whole: Json): ClipVisionArch {
  const where = `config.json of ${ref}`;
  const vision = visionOf(whole);
  const dim = whole['projection_dim'] === undefined ? vision : whole;
  return checkedShape(ref, {
    family: 'clip',
    ...hfClipHints(whole),
    width: count(where, vision, 'hidden_size', 768),
    layers: count(where, vision, 'num_hidden_layers', 12),
    mlpWidth: count(where, vision, 'intermediate_size', 3072),
    patchSize: count(where, vision, 'patch_size', 32),
    imageSize: count(where, vision, 'image_size', 224),
    embedDim: count(where, dim, 'projection_dim', 512),
  });
}

/** The same from open_clip_config.json, with open_clip's defaults. */
export function clipShapeOfOpenClip(ref: string, config: Json): ClipVisionArch {
  const { heads, activation, width, vision, model } = readOpenClip(config);
  const where = `open_clip_config.json of ${ref}`;
  return checkedShape(ref, {
    family: 'clip',
    width,
    heads,
    activation,
    layers: count(where, vision, 'layers', 12),
    mlpWidth: Math.trunc(width * positive(where, vision, 'mlp_ratio', 4)),
    patchSize: count(where, vision, 'patch_size', 16),
    imageSize: count(where, vision, 'image_size', 224),
    embedDim: count(where, model, 'embed_dim', 512),
  });
}
