import type { Tensors } from '../../files/tensors.js';
import type { Dinov2Arch } from '../../native/addon.js';
import type { Json } from '../model-folder.js';
import { layersOf, numberOf, shapeOf, sideOf } from '../shapes.js';

/**
 * Shape of a DINOv2 from its tensors and, when there is one, Hugging Face's config.json. pos_embed is resampled as its upstream does:
 * Hugging Face's Dinov2 by size, the hub's by a factor with an offset, either with registers antialiased.
 */
export function dinov2Arch(ref: string, tensors: Tensors, layout: 'hf' | 'hub', config: Json | null): Dinov2Arch {
  const hf = layout === 'hf';
  const shape = (hub: string, theirs: string) => shapeOf(tensors, hf ? theirs : hub, ref);
  const [width = 0, , , patchSize = 0] = shape('patch_embed.proj.weight', 'embeddings.patch_embeddings.projection.weight');
  const tokens = shape('pos_embed', 'embeddings.position_embeddings')[1]!;
  const swiglu = tensors.has(hf ? 'encoder.layer.0.mlp.weights_in.weight' : 'blocks.0.mlp.w12.weight');
  const registerName = hf ? 'embeddings.register_tokens' : 'register_tokens';
  const registers = tensors.has(registerName) ? shapeOf(tensors, registerName, ref)[1]! : 0;
  const second = swiglu
    ? shape('blocks.0.mlp.w3.weight', 'encoder.layer.0.mlp.weights_out.weight')
    : shape('blocks.0.mlp.fc2.weight', 'encoder.layer.0.mlp.fc2.weight');
  return {
    family: 'dinov2',
    width,
    layers: layersOf(tensors, hf ? 'encoder.layer.' : 'blocks.'),
    heads: config ? numberOf(config, 'num_attention_heads', width / 64) : width / 64,
    mlpWidth: second[1]!,
    ffn: swiglu ? 'swiglu' : 'mlp',
    patchSize,
    imageSize: sideOf(tokens - 1, ref) * patchSize,
    registers,
    interpolation: registers > 0 ? 'antialias' : hf ? 'size' : 'offset',
  };
}
