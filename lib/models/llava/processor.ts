import { join } from 'node:path';
import { copyCompanions, writeJson } from '../../files/output.js';
import { readIfThere } from '../../regular-file.js';
import { fromSentencePiece } from '../../text/sentencepiece.js';
import { largestModel } from '../../text/tokenizer.js';
import { type Json, readJson } from '../model-folder.js';
import type { LlavaWeights } from './open.js';

/** Files beside a language model's weights that say how its text is cut and how it generates. */
export const tokenizerCompanions = [
  'tokenizer.model',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'generation_config.json',
  'chat_template.json',
  'chat_template.jinja',
];

/** A special token as tokenizer.json and tokenizer_config.json have it. */
const special = (content: string): Json => ({
  content,
  lstrip: false,
  normalized: false,
  rstrip: false,
  single_word: false,
  special: true,
});

/**
 * What transformers' LlavaProcessor needs, in `folder`: the tokenizer's files, with <image> and <pad> added where the source's has neither,
 * and the image processor's config.
 */
export async function writeHfProcessor(llava: LlavaWeights, folder: string, imageToken: number): Promise<void> {
  const {
    image,
    model: { mean, std, vision },
    layout,
  } = llava;
  const { size } = image;
  await copyCompanions(llava.folder, folder, tokenizerCompanions);
  if (layout === 'original') await addTokens(llava.folder, folder, { '<image>': imageToken, '<pad>': imageToken + 1 });
  await writeJson(folder, 'preprocessor_config.json', {
    image_processor_type: image.aspect === 'pad' ? 'LlavaImageProcessor' : 'CLIPImageProcessor',
    processor_class: 'LlavaProcessor',
    ...(image.aspect === 'pad' ? { do_pad: true } : {}),
    do_resize: true,
    size: { shortest_edge: size },
    resample: 3,
    do_center_crop: true,
    crop_size: { height: size, width: size },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: mean,
    image_std: std,
    do_convert_rgb: true,
  });
  await writeJson(folder, 'processor_config.json', {
    processor_class: 'LlavaProcessor',
    image_token: '<image>',
    patch_size: vision.patchSize,
    vision_feature_select_strategy: 'default',
    num_additional_image_tokens: 1,
  });
}

/**
 * tokenizer.json of a folder, made from SentencePiece's model where there is that alone: transformers reads a LLaVA's tokenizer in this
 * form only.
 */
async function tokenizerJson(folder: string, config: Json | null): Promise<Json | null> {
  const json = await readJson(folder, 'tokenizer.json');
  if (json) return json;
  const file = join(folder, 'tokenizer.model');
  const model = await readIfThere(file, largestModel);
  if (!model) return null;
  const made = fromSentencePiece(model, file, config?.['legacy'] !== false);
  const added = made['added_tokens'] as { id: number; content: string }[];
  const bos = added.find(({ content }) => content === '<s>');
  const sequence = (id: string, type_id: number) => [
    ...(bos ? [{ SpecialToken: { id: '<s>', type_id } }] : []),
    { Sequence: { id, type_id } },
  ];
  return {
    ...made,
    added_tokens: added.map((token) => ({ ...special(token.content), ...token })),
    post_processor: {
      type: 'TemplateProcessing',
      single: sequence('A', 0),
      pair: [...sequence('A', 0), ...sequence('B', 1)],
      special_tokens: bos ? { '<s>': { id: '<s>', ids: [bos.id], tokens: ['<s>'] } } : {},
    },
  };
}

async function addTokens(from: string, to: string, tokens: Record<string, number>): Promise<void> {
  const config = await readJson(from, 'tokenizer_config.json');
  const json = await tokenizerJson(from, config);
  if (!json) return;
  const added = Object.entries(tokens).map(([content, id]) => ({ id, ...special(content) }));
  await writeJson(to, 'tokenizer.json', { ...json, added_tokens: [...((json['added_tokens'] as Json[] | undefined) ?? []), ...added] });
  const decoder = Object.fromEntries(added.map(({ id, ...token }) => [id, token]));
  await writeJson(to, 'tokenizer_config.json', {
    tokenizer_class: 'LlamaTokenizer',
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    ...config,
    added_tokens_decoder: { ...(config?.['added_tokens_decoder'] as Json | undefined), ...decoder },
    pad_token: '<pad>',
    image_token: '<image>',
    extra_special_tokens: { image_token: '<image>' },
    processor_class: 'LlavaProcessor',
  });
}
