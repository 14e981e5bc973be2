import type { Tensors } from '../../files/tensors.js';
import type { Dinov2Arch } from '../../native/addon.js';
import { identity, type KeyPair } from '../key-map.js';

/** Layouts of a DINOv2 on disk: Hugging Face's Dinov2 and Dinov2WithRegisters (`hf`), and the hub's checkpoints (`hub`). */
export type Dinov2Layout = 'hf' | 'hub';

/** Our parameters (the hub's names) and Hugging Face's names for them. */
export function dinov2Pairs(arch: Dinov2Arch): KeyPair[] {
  const { width, layers, mlpWidth, patchSize, imageSize, registers, ffn } = arch;
  const tokens = (imageSize / patchSize) ** 2 + 1;
  const both = (name: string, stored: string, weight: number[]): KeyPair[] => [
    { name: `${name}.weight`, shape: weight, stored: [`${stored}.weight`] },
    { name: `${name}.bias`, shape: weight.slice(0, 1), stored: [`${stored}.bias`] },
  ];
  const block = (i: number): KeyPair[] => {
    const ours = `blocks.${i}.`;
    const theirs = `encoder.layer.${i}.`;
    const qkv = (kind: string) => ['query', 'key', 'value'].map((part) => `${theirs}attention.attention.${part}.${kind}`);
    const [first, second, firstStored, secondStored, hidden] =
      ffn === 'swiglu'
        ? ['mlp.w12', 'mlp.w3', 'mlp.weights_in', 'mlp.weights_out', 2 * mlpWidth]
        : ['mlp.fc1', 'mlp.fc2', 'mlp.fc1', 'mlp.fc2', mlpWidth];
    return [
      ...both(`${ours}norm1`, `${theirs}norm1`, [width]),
      { name: `${ours}attn.qkv.weight`, shape: [3 * width, width], stored: qkv('weight') },
      { name: `${ours}attn.qkv.bias`, shape: [3 * width], stored: qkv('bias') },
      ...both(`${ours}attn.proj`, `${theirs}attention.output.dense`, [width, width]),
      { name: `${ours}ls1.gamma`, shape: [width], stored: [`${theirs}layer_scale1.lambda1`] },
      ...both(`${ours}norm2`, `${theirs}norm2`, [width]),
      ...both(ours + first, theirs + firstStored, [hidden, width]),
      ...both(ours + second, theirs + secondStored, [width, mlpWidth]),
      { name: `${ours}ls2.gamma`, shape: [width], stored: [`${theirs}layer_scale2.lambda1`] },
    ];
  };
  return [
    { name: 'cls_token', shape: [1, 1, width], stored: ['embeddings.cls_token'] },
    { name: 'pos_embed', shape: [1, tokens, width], stored: ['embeddings.position_embeddings'] },
    ...(registers > 0 ? [{ name: 'register_tokens', shape: [1, registers, width], stored: ['embeddings.register_tokens'] }] : []),
    ...both('patch_embed.proj', 'embeddings.patch_embeddings.projection', [width, 3, patchSize, patchSize]),
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
    ...both('norm', 'layernorm', [width]),
  ];
}

export function dinov2Keys(layout: Dinov2Layout, arch: Dinov2Arch): KeyPair[] {
  return layout === 'hf' ? dinov2Pairs(arch) : identity(dinov2Pairs(arch));
}

/**
 * The tensors with the prefix of a classification wrapper or of an SSL training checkpoint taken off, and chunked block names
 * (`blocks.0.3.`) made plain.
 */
export function unwrapDinov2(tensors: Tensors): Tensors {
  const prefix = ['dinov2_with_registers.', 'dinov2.', 'teacher.backbone.', 'backbone.'].find((p) =>
    [...tensors.keys()].some((name) => name.startsWith(p)),
  );
  const plain: Tensors = new Map();
  for (const [name, tensor] of tensors) {
    if (prefix && !name.startsWith(prefix)) continue;
    plain.set(name.slice(prefix?.length ?? 0).replace(/^blocks\.\d+\.(\d+\.)/, 'blocks.$1'), tensor);
  }
  return plain;
}

export function dinov2Layout(tensors: Tensors): Dinov2Layout | null {
  if (tensors.has('embeddings.cls_token') && tensors.has('embeddings.patch_embeddings.projection.weight')) return 'hf';
  if (tensors.has('cls_token') && tensors.has('patch_embed.proj.weight') && tensors.has('blocks.0.ls1.gamma')) return 'hub';
  return null;
}

/** The mask token belongs to pre-training, not to the encoder. */
export function isDinov2Extra(name: string): boolean {
  return name === 'mask_token' || name === 'embeddings.mask_token';
}
