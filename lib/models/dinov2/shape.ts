import type { Dinov2Arch } from '../../native/addon.js';
import { count, type Demands, demand, otherwiseWrong, positive } from '../config.js';
import type { ModelFile } from '../kind.js';
import type { Json } from '../model-folder.js';
import { checkedShape, layersOf, shapeOf, sideOf } from '../shapes.js';
import type { Dinov2Layout } from './keys.js';

/** Of Hugging Face's config.json. With SwiGLU its hidden_act is not used, and says gelu all the same. */
const demands: Demands = {
  hidden_act: ['gelu', undefined],
  layer_norm_eps: [1e-6, undefined],
  qkv_bias: [true, undefined],
  num_channels: [3, undefined],
};

/** Hugging Face's resamples pos_embed by size, the hub's by a factor with an offset, either with registers antialiased. */
const interpolationOf = (registers: number, layout: Dinov2Layout): Dinov2Arch['interpolation'] =>
  registers > 0 ? 'antialias' : layout === 'hf' ? 'size' : 'offset';

/** Shape of a DINOv2 from its tensors and, when there is one, Hugging Face's config.json. */
export function dinov2Shape({ ref, tensors, config, metadata }: ModelFile, layout: Dinov2Layout): Dinov2Arch {
  const hf = layout === 'hf';
  const shape = (hub: string, theirs: string, rank: number) => shapeOf(tensors, hf ? theirs : hub, ref, rank);
  const [width = 0, , , patchSize = 0] = shape('patch_embed.proj.weight', 'embeddings.patch_embeddings.projection.weight', 4);
  const tokens = shape('pos_embed', 'embeddings.position_embeddings', 3)[1]!;
  const swiglu = tensors.has(hf ? 'encoder.layer.0.mlp.weights_in.weight' : 'blocks.0.mlp.w12.weight');
  const registerName = hf ? 'embeddings.register_tokens' : 'register_tokens';
  const registers = tensors.has(registerName) ? shapeOf(tensors, registerName, ref, 3)[1]! : 0;
  const second = swiglu
    ? shape('blocks.0.mlp.w3.weight', 'encoder.layer.0.mlp.weights_out.weight', 2)
    : shape('blocks.0.mlp.fc2.weight', 'encoder.layer.0.mlp.fc2.weight', 2);
  const where = `config.json of ${ref}`;
  if (config) demand(where, config, { ...demands, use_swiglu_ffn: [swiglu, undefined] }, otherwiseWrong);
  const written = metadata['heads'] === undefined ? width / 64 : Number(metadata['heads']);
  return checkedShape<Dinov2Arch>(ref, {
    family: 'dinov2',
    width,
    layers: layersOf(tensors, hf ? 'encoder.layer.' : 'blocks.'),
    heads: config?.['num_attention_heads'] === undefined ? written : count(where, config, 'num_attention_heads'),
    mlpWidth: second[1]!,
    ffn: swiglu ? 'swiglu' : 'mlp',
    patchSize,
    imageSize: sideOf(tokens - 1, ref) * patchSize,
    registers,
    interpolation: interpolationOf(registers, layout),
  });
}

/** The same from config.json alone; null when it is another model's. What defaults have changed over time must be said. */
export function dinov2ShapeOfConfig(ref: string, config: Json): Dinov2Arch | null {
  const type = config['model_type'];
  if (type !== 'dinov2' && type !== 'dinov2_with_registers') return null;
  const where = `config.json of ${ref}`;
  demand(where, config, { ...demands, use_swiglu_ffn: [false, true, undefined] }, otherwiseWrong);
  const width = count(where, config, 'hidden_size', 768);
  const hidden = Math.trunc(width * positive(where, config, 'mlp_ratio', 4));
  const swiglu = config['use_swiglu_ffn'] === true;
  const registers = type === 'dinov2' ? 0 : count(where, config, 'num_register_tokens', 4);
  return checkedShape<Dinov2Arch>(ref, {
    family: 'dinov2',
    width,
    layers: count(where, config, 'num_hidden_layers', 12),
    heads: count(where, config, 'num_attention_heads', 12),
    mlpWidth: swiglu ? Math.trunc((Math.trunc((hidden * 2) / 3) + 7) / 8) * 8 : hidden,
    ffn: swiglu ? 'swiglu' : 'mlp',
    patchSize: count(where, config, 'patch_size'),
    imageSize: count(where, config, 'image_size'),
    registers,
    interpolation: interpolationOf(registers, 'hf'),
  });
}
