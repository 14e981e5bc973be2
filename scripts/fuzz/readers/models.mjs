/** Readers of what stands beside weights: configs of models and adapters, and tokenizers. */
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildHeader } from '../../../dist/lib/files/safetensors.js';
import { openAdapter, planAdapter } from '../../../dist/lib/models/llava/adapter.js';
import { openLlava } from '../../../dist/lib/models/llava/open.js';
import { readLlavaShape } from '../../../dist/lib/models/llava/shape.js';
import { openWeights } from '../../../dist/lib/models/open.js';
import { openTokenizer } from '../../../dist/lib/text/tokenizer.js';
import { encodeConversation } from '../../../dist/lib/text/vicuna.js';
import { mutateJson } from '../mutate.mjs';

const demo = resolve(dirname(fileURLToPath(import.meta.url)), '../../../configs/demo');
const json = (...path) => JSON.parse(readFileSync(join(demo, ...path), 'utf8'));

/** A reader of one JSON file; `like` are values that it should read. */
const ofJson = (name, like, prepare, read) => ({
  name,
  prepare,
  seeds: like.map((value) => Buffer.from(JSON.stringify(value))),
  make: (chance) => Buffer.from(mutateJson(chance, chance.of(like))),
  read: (file) => read(dirname(file)),
});

/** Links to the demo's files but for one. */
const copyOf = (model, but) => (folder) => {
  mkdirSync(folder, { recursive: true });
  const names = { clip: ['config.json', 'model.safetensors', 'preprocessor_config.json'], dinov2: ['config.json', 'model.safetensors'] };
  for (const name of names[model] ?? ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
    if (name !== but) symlinkSync(join(demo, model, name), join(folder, name));
};

const clip = json('clip', 'config.json');
const llava = json('llava', 'config.json');
const openClip = {
  model_cfg: { embed_dim: 64, quick_gelu: true, vision_cfg: { image_size: 64, layers: 4, width: 128, patch_size: 8, head_width: 32 } },
  preprocess_cfg: { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2], interpolation: 'bicubic', resize_mode: 'shortest' },
};
const adapter = {
  peft_type: 'LORA',
  r: 2,
  lora_alpha: 4,
  lora_dropout: 0.05,
  target_modules: ['q_proj', 'v_proj'],
  bias: 'none',
  init_lora_weights: true,
  base_model_name_or_path: 'nowhere',
  task_type: 'CAUSAL_LM',
  modules_to_save: null,
  rank_pattern: {},
};
const adapterHeader = buildHeader(
  ['q_proj', 'v_proj'].flatMap((name) => [
    { name: `base_model.model.model.layers.0.self_attn.${name}.lora_A.weight`, dtype: 'F32', shape: [0, 96] },
    { name: `base_model.model.model.layers.0.self_attn.${name}.lora_B.weight`, dtype: 'F32', shape: [96, 0] },
  ]),
);

const turns = [
  { from: 'human', value: '<image>\nWhat  is this? 镇 🦙' },
  { from: 'gpt', value: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! a cat</s> or a circle.' },
];
async function useTokenizer(folder) {
  const tokenizer = await openTokenizer(folder);
  const { ids } = encodeConversation(tokenizer, turns, true);
  tokenizer.decode(ids.filter((id) => id >= 0));
  const stream = tokenizer.stream();
  for (const id of [...ids.filter((id) => id >= 0).slice(0, 8), 0, 7, 1e6]) stream.push(id);
  stream.end();
}

const special = (id, content) => ({ id, content, special: true, normalized: false, lstrip: false, rstrip: false, single_word: false });
const pieces = ['<unk>', '<s>', '</s>', '▁', 'a', 'c', 't', 'aa', '▁a', 'at', 'cat', '▁cat', '<0x0A>', '!', '▁is'];
const bpe = {
  version: '1.0',
  added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>'), special(15, '<image>')],
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  post_processor: null,
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    type: 'BPE',
    unk_token: '<unk>',
    fuse_unk: true,
    byte_fallback: true,
    ignore_merges: false,
    vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    merges: [
      ['a', 'a'],
      ['▁', 'a'],
      ['a', 't'],
      ['c', 'at'],
      ['▁', 'cat'],
    ],
  },
};
const metaspace = {
  ...bpe,
  normalizer: null,
  pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
};

const varint = (n) => (n < 128 ? Buffer.from([n]) : Buffer.concat([Buffer.from([(n & 127) | 128]), varint(Math.floor(n / 128))]));
const field = (number, value) =>
  typeof value === 'number'
    ? Buffer.concat([varint(8 * number), varint(value)])
    : Buffer.concat([varint(8 * number + 2), varint(value.length), value]);
const piece = (text, score, type) => {
  const bits = Buffer.alloc(5, 8 * 2 + 5);
  bits.writeFloatLE(score, 1);
  return field(1, Buffer.concat([field(1, Buffer.from(text)), bits, field(3, type)]));
};
const sentencePiece = Buffer.concat([
  ...pieces.map((text, i) => piece(text, -i, i === 0 ? 2 : i < 3 ? 3 : text.startsWith('<0') ? 6 : 1)),
  field(2, Buffer.concat([field(3, 2), field(35, 1)])),
  field(3, Buffer.concat([field(3, 1), field(4, 0)])),
]);

export const models = {
  'clip config': ofJson('config.json', [clip], copyOf('clip', 'config.json'), (folder) => openWeights(folder)),
  'dinov2 config': ofJson('config.json', [json('dinov2', 'config.json')], copyOf('dinov2', 'config.json'), (folder) => openWeights(folder)),
  preprocessor: ofJson(
    'preprocessor_config.json',
    [json('clip', 'preprocessor_config.json')],
    copyOf('clip', 'preprocessor_config.json'),
    (folder) => openWeights(folder),
  ),
  'open_clip config': ofJson('open_clip_config.json', [openClip], copyOf('clip', 'config.json'), (folder) => openWeights(folder)),
  'llava config': ofJson(
    'config.json',
    [llava],
    (folder) => {
      copyOf('llava', 'config.json')(folder);
      cpSync(join(demo, 'clip'), join(folder, '..', 'clip'), { recursive: true });
    },
    async (folder) => {
      await readLlavaShape(folder, undefined);
      await openLlava(folder, {});
    },
  ),
  'adapter config': {
    ...ofJson(
      'adapter_config.json',
      [adapter],
      () => {},
      async (folder) => {
        const opened = await openAdapter(folder);
        planAdapter(opened, {
          family: 'llama',
          width: 96,
          heads: 4,
          layers: 1,
          mlpWidth: 256,
          vocabulary: 72,
          rmsNormEps: 1e-5,
          ropeTheta: 1e4,
        });
      },
    ),
    beside: { 'adapter_model.safetensors': adapterHeader },
  },
  'tokenizer.json': ofJson('tokenizer.json', [bpe, metaspace, json('llava', 'tokenizer.json')], () => {}, useTokenizer),
  tokenizer_config: ofJson(
    'tokenizer_config.json',
    [{ legacy: true, bos_token: '<s>', eos_token: { content: '</s>' }, unk_token: '<unk>' }],
    copyOf('llava', 'tokenizer_config.json'),
    useTokenizer,
  ),
  'tokenizer.model': { name: 'tokenizer.model', seeds: [sentencePiece], read: (file) => useTokenizer(dirname(file)) },
};
