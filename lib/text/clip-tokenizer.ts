import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

import { Tokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';

import { KueaError, reason, shown } from '../errors.js';
import { packageRoot } from '../package.js';
import { readIfThere } from '../regular-file.js';
import { cleanCaption } from './clean-caption.js';
import { readJson } from './tokenizer.js';
import { mostTokens } from './tokenizer-json.js';

const [startOfText, endOfText] = ['<|startoftext|>', '<|endoftext|>'];
/** What ends a word's last piece. */
const endOfWord = '</w>';
/** Words, digits one by one, the rest of what is no space: the pattern of CLIP's published tokenizer. */
const words = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
/** Of merges.txt in bytes, at most; CLIP's has 0.5 MB. */
const largestMerges = 1 << 26;

type Pair = [string, string];

interface Vocabulary {
  ids: Record<string, number>;
  merges: Pair[];
}

/** Cuts a text as OpenAI's and open_clip's tokenizers do. */
export class ClipTokenizer {
  /** Ids of the beginning and the end of a text. */
  readonly start: number;
  readonly end: number;
  /** One more than the highest id: what a model's vocabulary must hold. */
  readonly vocabulary: number;
  private readonly tokenizer: Tokenizer;

  /** `from` names the vocabulary in errors. Throws KueaError `bad_tokenizer`. */
  constructor({ ids, merges }: Vocabulary, from: string) {
    const [start, end] = [ids[startOfText], ids[endOfText]];
    if (start === undefined || end === undefined)
      throw new KueaError('bad_tokenizer', `expected ${startOfText} and ${endOfText} in ${from}, found a vocabulary without them`);
    [this.start, this.end] = [start, end];
    this.vocabulary = 1 + Object.values(ids).reduce((highest, id) => Math.max(highest, id), 0);
    const special = ([content, id]: [string, number]) => ({ id, content, special: true, normalized: false });
    try {
      this.tokenizer = new Tokenizer(
        {
          added_tokens: (
            [
              [startOfText, start],
              [endOfText, end],
            ] as [string, number][]
          ).map(special),
          normalizer: null,
          pre_tokenizer: {
            type: 'Sequence',
            pretokenizers: [
              { type: 'Split', pattern: { Regex: words }, behavior: 'Removed', invert: true },
              { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
            ],
          },
          post_processor: null,
          decoder: null,
          model: { type: 'BPE', vocab: ids, merges, unk_token: endOfText, fuse_unk: false, end_of_word_suffix: endOfWord },
        },
        {},
      );
    } catch (cause) {
      throw new KueaError('bad_tokenizer', `expected CLIP's tokenizer in ${from}, found one that cannot be read: ${reason(cause)}`, {
        cause,
      });
    }
  }

  /** Ids of a text between those of its beginning and its end: at most `context`, of which the last is then its end. */
  encode(text: string, context: number): number[] {
    const { ids } = this.tokenizer.encode(cleanCaption(text), { add_special_tokens: false });
    return [this.start, ...ids.slice(0, Math.max(0, context - 2)), this.end].slice(-context);
  }
}

const id = z.int().min(0).lt(mostTokens);
const ids = z.record(z.string(), id);
const pairOf = (line: string): Pair => line.split(' ', 2) as Pair;
const pair = z.union([z.string().transform(pairOf), z.tuple([z.string(), z.string()])]);

/** The parts of CLIP's tokenizer.json that change ids. Another normaliser or cut would give other ids than the model was trained on. */
const tokenizerSchema = z.object({
  added_tokens: z.array(z.object({ id, content: z.string() })).default([]),
  normalizer: z
    .object({ normalizers: z.array(z.object({ type: z.enum(['NFC', 'Replace', 'Lowercase']) })) })
    .refine(({ normalizers }) => normalizers.some(({ type }) => type === 'Lowercase'), 'no Lowercase'),
  pre_tokenizer: z.object({
    pretokenizers: z.tuple([
      z.object({ type: z.literal('Split'), pattern: z.object({ Regex: z.string().refine((regex) => regex.endsWith(words)) }) }),
      z.object({ type: z.literal('ByteLevel'), add_prefix_space: z.literal(false) }),
    ]),
  }),
  model: z.object({
    type: z.literal('BPE').optional(),
    vocab: ids,
    merges: z.array(pair),
    end_of_word_suffix: z.literal(endOfWord),
  }),
});

function parsed<T>(schema: z.ZodType<T>, value: unknown, file: string): T {
  const { data, error } = schema.safeParse(value);
  if (error) {
    const { path, message } = error.issues[0]!;
    throw new KueaError('bad_tokenizer', `expected CLIP's tokenizer in ${file}, found another: ${shown(path.join('.'))}: ${message}`);
  }
  return data as T;
}

/** Merges of a merges.txt. */
const mergesOf = (text: string): Pair[] =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#version'))
    .map((line) => pairOf(line.trimEnd()));

/** The vocabulary that a folder brings: tokenizer.json's, or vocab.json's and merges.txt's; null when it brings neither. */
async function vocabularyIn(folder: string): Promise<{ vocabulary: Vocabulary; file: string } | null> {
  const file = join(folder, 'tokenizer.json');
  const json = await readJson(file);
  if (json) {
    const { added_tokens: added, model } = parsed(tokenizerSchema, json, file);
    const all = { ...model.vocab, ...Object.fromEntries(added.map(({ content, id }) => [content, id])) };
    return { vocabulary: { ids: all, merges: model.merges }, file };
  }
  const vocabularyFile = join(folder, 'vocab.json');
  const listed = await readJson(vocabularyFile);
  if (!listed) return null;
  const merges = await readIfThere(join(folder, 'merges.txt'), largestMerges);
  if (!merges) throw new KueaError('bad_tokenizer', `expected merges.txt beside ${vocabularyFile}, found none: copy it from where it came`);
  return { vocabulary: { ids: parsed(ids, listed, vocabularyFile), merges: mergesOf(merges.toString('utf8')) }, file: vocabularyFile };
}

/** A character for each byte, in the order of the vocabulary: printable ones stand for themselves, the others come after U+00FF. */
function byteCharacters(): string[] {
  const between = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => String.fromCharCode(first + i));
  const own = [...between(0x21, 0x7e), ...between(0xa1, 0xac), ...between(0xae, 0xff)];
  return [...own, ...between(0x100, 0x100 + 255 - own.length)];
}

let published: Promise<ClipTokenizer> | undefined;

/** CLIP's own vocabulary of 49,408 tokens. */
function publishedTokenizer(): Promise<ClipTokenizer> {
  published ??= (async () => {
    const file = join(packageRoot(), 'configs/clip-vocabulary/merges.txt.gz');
    const merges = mergesOf((await promisify(gunzip)(await readFile(file))).toString('utf8'));
    const bytes = byteCharacters();
    const tokens = [
      ...bytes,
      ...bytes.map((character) => character + endOfWord),
      ...merges.map((pieces) => pieces.join('')),
      startOfText,
      endOfText,
    ];
    return new ClipTokenizer({ ids: Object.fromEntries(tokens.map((token, i) => [token, i])), merges }, file);
  })();
  return published;
}

/**
 * The tokenizer of a CLIP with `vocabulary` tokens: that of its folder (tokenizer.json, or vocab.json and merges.txt), else CLIP's own.
 * Throws KueaError `bad_tokenizer` for one that is damaged or does not fit, and `tokenizer_not_found` where CLIP's own does not fit.
 */
export async function openClipTokenizer(folder: string | undefined, vocabulary: number): Promise<ClipTokenizer> {
  const own = folder === undefined ? null : await vocabularyIn(folder);
  if (own) {
    const tokenizer = new ClipTokenizer(own.vocabulary, own.file);
    if (tokenizer.vocabulary <= vocabulary) return tokenizer;
    throw new KueaError(
      'bad_tokenizer',
      `expected at most the model's ${vocabulary} tokens in ${own.file}, found ${tokenizer.vocabulary}: it is another model's tokenizer`,
    );
  }
  const tokenizer = await publishedTokenizer();
  if (tokenizer.vocabulary === vocabulary) return tokenizer;
  const place = folder === undefined ? 'around the weights' : `in ${folder}`;
  throw new KueaError(
    'tokenizer_not_found',
    `expected tokenizer.json, or vocab.json and merges.txt, ${place}, found neither: the model has ${vocabulary} tokens, and CLIP's own ` +
      `tokenizer ${tokenizer.vocabulary}`,
  );
}
