import type { Tensors } from '../../files/tensors.js';
import type { ClipVisionArch } from '../../native/addon.js';
import type { KeyPair } from '../key-map.js';
import type { TextArch } from '../kind.js';

/**
 * Layouts of a CLIP on disk: Hugging Face's CLIPModel or CLIPVisionModel (`hf`), OpenAI's and open_clip's with `visual.` (`openai`), and
 * the vision tower's own state dict, as the published code saves it (`visual`).
 */
export type ClipLayout = 'hf' | 'openai' | 'visual';

/** One residual block: OpenAI's names under `ours`, Hugging Face's under `theirs`. */
function block(ours: string, theirs: string, width: number, mlpWidth: number): KeyPair[] {
  const pair = (name: string, stored: string[], shape: number[]): KeyPair => ({
    name: ours + name,
    shape,
    stored: stored.map((s) => theirs + s),
  });
  const both = (name: string, stored: string, weight: number[]) => [
    pair(`${name}.weight`, [`${stored}.weight`], weight),
    pair(`${name}.bias`, [`${stored}.bias`], weight.slice(0, 1)),
  ];
  const qkv = (kind: string) => ['q', 'k', 'v'].map((part) => `self_attn.${part}_proj.${kind}`);
  return [
    ...both('ln_1', 'layer_norm1', [width]),
    pair('attn.in_proj_weight', qkv('weight'), [3 * width, width]),
    pair('attn.in_proj_bias', qkv('bias'), [3 * width]),
    ...both('attn.out_proj', 'self_attn.out_proj', [width, width]),
    ...both('ln_2', 'layer_norm2', [width]),
    ...both('mlp.c_fc', 'mlp.fc1', [mlpWidth, width]),
    ...both('mlp.c_proj', 'mlp.fc2', [width, mlpWidth]),
  ];
}

const count = <T>(n: number, f: (i: number) => T[]): T[] => Array.from({ length: n }, (_, i) => f(i)).flat();

/** The vision tower: our parameters (OpenAI's names without `visual.`) and Hugging Face's names for them. */
export function visionPairs(arch: ClipVisionArch): KeyPair[] {
  const { width, layers, mlpWidth, patchSize, imageSize, embedDim } = arch;
  const tokens = (imageSize / patchSize) ** 2 + 1;
  const norm = (name: string, stored: string): KeyPair[] =>
    ['weight', 'bias'].map((kind) => ({ name: `${name}.${kind}`, shape: [width], stored: [`vision_model.${stored}.${kind}`] }));
  return [
    { name: 'conv1.weight', shape: [width, 3, patchSize, patchSize], stored: ['vision_model.embeddings.patch_embedding.weight'] },
    { name: 'class_embedding', shape: [width], stored: ['vision_model.embeddings.class_embedding'] },
    { name: 'positional_embedding', shape: [tokens, width], stored: ['vision_model.embeddings.position_embedding.weight'] },
    // Misspelt upstream.
    ...norm('ln_pre', 'pre_layrnorm'),
    ...count(layers, (i) => block(`transformer.resblocks.${i}.`, `vision_model.encoder.layers.${i}.`, width, mlpWidth)),
    ...norm('ln_post', 'post_layernorm'),
    ...(embedDim > 0 ? [{ name: 'proj', shape: [width, embedDim], stored: ['visual_projection.weight'], transpose: true }] : []),
  ];
}

/** The text tower and the logit scale. */
export function textPairs(arch: TextArch): KeyPair[] {
  const { width, layers, mlpWidth, context, vocabulary, embedDim } = arch;
  return [
    { name: 'token_embedding.weight', shape: [vocabulary, width], stored: ['text_model.embeddings.token_embedding.weight'] },
    { name: 'positional_embedding', shape: [context, width], stored: ['text_model.embeddings.position_embedding.weight'] },
    ...count(layers, (i) => block(`transformer.resblocks.${i}.`, `text_model.encoder.layers.${i}.`, width, mlpWidth)),
    ...['weight', 'bias'].map((kind) => ({ name: `ln_final.${kind}`, shape: [width], stored: [`text_model.final_layer_norm.${kind}`] })),
    { name: 'text_projection', shape: [width, embedDim], stored: ['text_projection.weight'], transpose: true },
    { name: 'logit_scale', shape: [], stored: ['logit_scale'] },
  ];
}

/**
 * The tensors with Hugging Face's `vision_model.` put before the names of a tower alone, which newer versions of transformers leave out.
 */
export function withVisionModel(tensors: Tensors): Tensors {
  if (!tensors.has('embeddings.class_embedding')) return tensors;
  return new Map(
    Array.from(tensors, ([name, tensor]) => [
      /^(embeddings|pre_layrnorm|encoder|post_layernorm)\./.test(name) ? `vision_model.${name}` : name,
      tensor,
    ]),
  );
}

/** The tensors without the `text.` that open_clip's CustomTextCLIP puts before the names of its text tower. */
export function withoutText(tensors: Tensors): Tensors {
  if (!tensors.has('visual.class_embedding')) return tensors;
  return new Map(Array.from(tensors, ([name, tensor]) => [name.startsWith('text.') ? name.slice('text.'.length) : name, tensor]));
}

export function clipLayout(tensors: Tensors): ClipLayout | null {
  if (tensors.has('vision_model.embeddings.class_embedding')) return 'hf';
  if (tensors.has('visual.class_embedding')) return 'openai';
  if (tensors.has('class_embedding') && tensors.has('conv1.weight')) return 'visual';
  return null;
}

const textPrefixes = {
  hf: ['text_model.', 'text_projection.', 'logit_scale'],
  openai: ['token_embedding.', 'positional_embedding', 'transformer.', 'ln_final.', 'text_projection', 'logit_scale'],
  visual: [],
};

/** Whether a name of this layout belongs to the text tower. */
export function isText(layout: ClipLayout, name: string): boolean {
  return textPrefixes[layout].some((prefix) => name.startsWith(prefix));
}

/** Buffers and scalars that some writers leave in the file: known, and not weights. */
export function isClipExtra(name: string): boolean {
  return /(^|\.)position_ids$|^(input_resolution|context_length|vocab_size)$|^(visual\.)?attn_mask$/.test(name);
}
