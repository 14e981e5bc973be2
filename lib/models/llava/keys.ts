import type { Tensors } from '../../files/tensors.js';
import type { LlamaArch } from '../../native/addon.js';
import type { KeyPair } from '../key-map.js';

/**
 * Layouts of a LLaVA on disk: its authors' (`original`, a bare LLaMA's too), and llava-hf's before (`hf-old`) and after (`hf-new`)
 * transformers 4.52.
 */
export type LlavaLayout = 'original' | 'hf-old' | 'hf-new';

/** What the names of each part begin with. */
export const prefixes: Record<LlavaLayout, { language: string; head: string; projector: [string, string]; vision: string }> = {
  original: {
    language: 'model.',
    head: 'lm_head.',
    projector: ['model.mm_projector.0.', 'model.mm_projector.2.'],
    vision: 'model.vision_tower.vision_tower.',
  },
  'hf-old': {
    language: 'language_model.model.',
    head: 'language_model.lm_head.',
    projector: ['multi_modal_projector.linear_1.', 'multi_modal_projector.linear_2.'],
    vision: 'vision_tower.',
  },
  'hf-new': {
    language: 'model.language_model.',
    head: 'lm_head.',
    projector: ['model.multi_modal_projector.linear_1.', 'model.multi_modal_projector.linear_2.'],
    vision: 'model.vision_tower.',
  },
};

export const llavaLayouts = Object.keys(prefixes) as LlavaLayout[];

export function llavaLayout(tensors: Tensors): LlavaLayout | null {
  return llavaLayouts.find((layout) => tensors.has(`${prefixes[layout].language}embed_tokens.weight`)) ?? null;
}

/** The linear maps of a layer, which LoRA adapts, as [out, in]. */
export function linears({ width, mlpWidth }: LlamaArch): { name: string; shape: [number, number] }[] {
  return [
    ...['q', 'k', 'v', 'o'].map((part) => ({ name: `self_attn.${part}_proj`, shape: [width, width] as [number, number] })),
    ...['gate', 'up'].map((part) => ({ name: `mlp.${part}_proj`, shape: [mlpWidth, width] as [number, number] })),
    { name: 'mlp.down_proj', shape: [width, mlpWidth] },
  ];
}

const layersOf = <T>({ layers }: LlamaArch, f: (prefix: string) => T[]): T[] =>
  Array.from({ length: layers }, (_, i) => f(`layers.${i}.`)).flat();

/** The language model: our parameters (the original's names) and a layout's names for them. */
export function languagePairs(arch: LlamaArch, layout: LlavaLayout): KeyPair[] {
  const { width, vocabulary } = arch;
  const { language, head } = prefixes[layout];
  const pair = (name: string, shape: number[]): KeyPair => ({ name: `model.${name}`, shape, stored: [language + name] });
  return [
    pair('embed_tokens.weight', [vocabulary, width]),
    ...layersOf(arch, (layer) => [
      ...linears(arch).map(({ name, shape }) => pair(`${layer}${name}.weight`, shape)),
      pair(`${layer}input_layernorm.weight`, [width]),
      pair(`${layer}post_attention_layernorm.weight`, [width]),
    ]),
    pair('norm.weight', [width]),
    { name: 'lm_head.weight', shape: [vocabulary, width], stored: [`${head}weight`] },
  ];
}

/** The projector, from a tower of width `visionWidth` to the language model's `width`. */
export function projectorPairs(visionWidth: number, width: number, layout: LlavaLayout): KeyPair[] {
  const { original, [layout]: theirs } = prefixes;
  return [0, 1].flatMap((i): KeyPair[] => [
    { name: `${original.projector[i]!}weight`, shape: [width, i === 0 ? visionWidth : width], stored: [`${theirs.projector[i]!}weight`] },
    { name: `${original.projector[i]!}bias`, shape: [width], stored: [`${theirs.projector[i]!}bias`] },
  ]);
}

/**
 * LoRA's A [rank, in] and B [out, rank] of every linear map, and PEFT's names for them on a base whose language model's names begin with
 * `language`.
 */
export function loraPairs(arch: LlamaArch, rank: number, language: string): KeyPair[] {
  const pair = (name: string, shape: number[]): KeyPair => ({
    name: `model.${name}`,
    shape,
    stored: [`base_model.model.${language}${name}`],
  });
  return layersOf(arch, (layer) =>
    linears(arch).flatMap(({ name, shape: [out, inner] }) => [
      pair(`${layer}${name}.lora_A.weight`, [rank, inner]),
      pair(`${layer}${name}.lora_B.weight`, [out, rank]),
    ]),
  );
}

/** What PEFT's modules_to_save calls the projector as a whole, on transformers' LLaVA and on its authors'. */
export const savedProjectors = ['multi_modal_projector', 'mm_projector'] as const;

/** Buffers that some writers leave in the file: known, and not weights. */
export function isLlavaExtra(name: string): boolean {
  return name.endsWith('.rotary_emb.inv_freq') || name.endsWith('.position_ids');
}
