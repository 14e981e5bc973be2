import { KueaError, shown } from '../../errors.js';
import { type Tensors, toBytes } from '../../files/tensors.js';
import type { ClipTextArch, ClipVisionArch, TensorBytes } from '../../native/addon.js';
import { type Demands, demand, otherwiseWrong, section } from '../config.js';
import { identity, planLoad } from '../key-map.js';
import type { ModelFile, TextArch, TextTower } from '../kind.js';
import type { Json } from '../model-folder.js';
import { checkedShape, layersOf, shapeOf } from '../shapes.js';
import { type ClipLayout, isClipExtra, isText, textPairs } from './keys.js';

/** Of a text tower in Hugging Face's config.json. */
const hfDemands: Demands = { layer_norm_eps: [1e-5, undefined] };

/** Of `text_cfg` in open_clip_config.json: other towers, other rows for a text, and other tokenizers. */
const openClipDemands: Demands = {
  hf_model_name: [undefined, null],
  hf_tokenizer_name: [undefined, null],
  tokenizer_mode: [undefined, null],
  tokenizer_kwargs: [undefined, null, {}],
  pool_type: ['argmax', undefined],
  embed_cls: [false, undefined],
  no_causal_mask: [false, undefined],
  proj_type: ['linear', undefined],
  norm_kwargs: [undefined, null, {}, { eps: 1e-5 }],
  act_kwargs: [undefined, null, {}],
};

/** The end token of CLIP's own vocabulary, and what Hugging Face's configs said instead until 2023. */
const endOfText = 49407;
const formerEnd = 2;

/** What a file of this layout says of its text tower beside the weights; null when it says nothing. */
function configOf({ config, openClip }: ModelFile, layout: ClipLayout): { where: string; text: Json; heads: unknown } | null {
  if (layout === 'hf') {
    if (config?.['text_config'] === undefined) return null;
    const text = section('config.json', config, 'text_config');
    return { where: 'text_config of config.json', text, heads: text['num_attention_heads'] ?? 8 };
  }
  if (!openClip) return null;
  const where = 'open_clip_config.json';
  const text = section(where, openClip['model_cfg'] === undefined ? openClip : section(where, openClip, 'model_cfg'), 'text_cfg');
  return { where: `text_cfg of ${where}`, text, heads: text['heads'] ?? 8 };
}

/** Shape of the text tower that a file carries, or null. Heads are the config's, else width / 64. */
function textArch(file: ModelFile, layout: 'hf' | 'openai'): TextArch | null {
  const { ref, tensors, metadata } = file;
  const hf = layout === 'hf';
  const shape = (openai: string, theirs: string) => shapeOf(tensors, hf ? theirs : openai, ref, 2);
  const [token, position] = ['text_model.embeddings.token_embedding.weight', 'text_model.embeddings.position_embedding.weight'];
  if (!tensors.has(hf ? token : 'token_embedding.weight')) return null;
  const [vocabulary = 0, width = 0] = shape('token_embedding.weight', token);
  const arch = checkedShape(ref, {
    width,
    vocabulary,
    layers: layersOf(tensors, hf ? 'text_model.encoder.layers.' : 'transformer.resblocks.'),
    mlpWidth: shape('transformer.resblocks.0.mlp.c_fc.weight', 'text_model.encoder.layers.0.mlp.fc1.weight')[0]!,
    context: shape('positional_embedding', position)[0]!,
    embedDim: shape('text_projection', 'text_projection.weight')[hf ? 0 : 1]!,
  });
  const { [textHeadsKey]: written } = metadata;
  const heads = configOf(file, layout)?.heads ?? (written === undefined ? Math.max(1, width / 64) : Number(written));
  // What is no number is refused when the tower is to be computed.
  return { ...arch, heads: typeof heads === 'number' ? heads : Number.NaN };
}

/** Heads of the text tower, which no shape shows, in the metadata of a file of ours. */
export const textHeadsKey = 'text_heads';

/** The whole of the shape: what a config says, else what the vision tower has. */
function computed(file: ModelFile, layout: ClipLayout, arch: TextArch, { activation: visual }: ClipVisionArch): ClipTextArch {
  const config = configOf(file, layout);
  const whole = (activation: ClipTextArch['activation'], endToken: number | null) =>
    checkedShape(file.ref, { ...arch, activation, endToken });
  if (!config) return whole(visual, null);
  const { where, text } = config;
  demand(where, text, layout === 'hf' ? hfDemands : openClipDemands, otherwiseWrong);
  if (layout !== 'hf') return whole(visual, null);
  const [activation, end] = [text['hidden_act'] ?? 'quick_gelu', text['eos_token_id'] ?? endOfText];
  if (activation !== 'quick_gelu' && activation !== 'gelu')
    throw new KueaError('unsupported_model', `expected hidden_act quick_gelu or gelu in ${where}, found ${shown(activation)}`);
  if (!Number.isInteger(end)) throw new KueaError('bad_config', `expected one token for eos_token_id in ${where}, found ${shown(end)}`);
  // As Hugging Face has it: where the config has the former number, or none of this vocabulary's, the highest id is the end.
  return whole(activation, end === formerEnd || (end as number) >= arch.vocabulary ? null : (end as number));
}

function textTensors(tensors: Tensors, layout: ClipLayout): Map<string, TensorBytes> {
  const text = new Map<string, TensorBytes>();
  for (const [name, tensor] of tensors) {
    if (isText(layout, name) && !isClipExtra(name)) text.set(name, toBytes(name, tensor));
  }
  return text;
}

/** The text tower of a CLIP whose vision tower is `vision`, if its file has one. Nothing is read. */
export function clipTextTower(file: ModelFile, layout: ClipLayout, vision: ClipVisionArch): TextTower | null {
  const arch = layout === 'visual' ? null : textArch(file, layout);
  if (!arch) return null;
  return {
    arch,
    layout,
    tensors: textTensors(file.tensors, layout),
    plan() {
      const whole = computed(file, layout, arch, vision);
      // What cosines are multiplied with is no part of the tower.
      const pairs = textPairs(arch).filter(({ name }) => name !== 'logit_scale');
      const notText = (name: string) => !isText(layout, name) || isClipExtra(name) || name === 'logit_scale';
      return { arch: whole, weights: planLoad(file.ref, layout === 'hf' ? pairs : identity(pairs), file.tensors, notText) };
    },
  };
}
