import { join } from 'node:path';

import { Tokenizer } from '@huggingface/tokenizers';

import { KueaError, reason, shown } from '../errors.js';
import { readIfThere } from '../regular-file.js';
import { fromSentencePiece } from './sentencepiece.js';
import { tokenizerConfigSchema, tokenizerSchema } from './tokenizer-json.js';

/**
 * Tokens that llava-hf added to LLaMA's: to the original they are text like any other. An image's place is marked by an id of its own here.
 */
const notText = ['<image>', '<pad>'];

/** Of a tokenizer's file in bytes, at most: LLaMA's JSON has 2 MB and its SentencePiece model 0.5 MB, the largest known 33 and 5. */
const largestJson = 1 << 26;
export const largestModel = 1 << 24;

/** Text to ids and back, as the reference's slow LlamaTokenizer does it. */
export class TextTokenizer {
  /** Ids of the beginning and the end of a text, and of what the vocabulary lacks (undefined when it lacks nothing). */
  readonly bos: number;
  readonly eos: number;
  readonly unk: number | undefined;
  /** One more than the highest id: what a model's vocabulary must hold. */
  readonly vocabulary: number;
  /** How the end is written in text. */
  readonly eosText: string;
  private readonly tokenizer: Tokenizer;
  /** Whether ids that the vocabulary lacks have a token. */
  private readonly named: boolean;

  /**
   * `json` and `config`: what tokenizer.json and tokenizer_config.json hold; `from` names them in errors. Throws KueaError `bad_tokenizer`.
   */
  constructor(json: Record<string, unknown>, config: Record<string, unknown>, from: string) {
    const unread = (why: string, cause: unknown) =>
      new KueaError('bad_tokenizer', `expected a tokenizer such as LLaMA's in ${from}, found one that cannot be read: ${why}`, { cause });
    const parsed = tokenizerSchema.safeParse(json);
    const settings = tokenizerConfigSchema.safeParse(config);
    const fault = parsed.error?.issues[0] ?? settings.error?.issues[0];
    if (!parsed.success || !settings.success) throw unread(`${fault?.path.join('.')}: ${fault?.message}`, parsed.error ?? settings.error);
    const { added_tokens: added, ...rest } = parsed.data;
    this.named = typeof rest.model.unk_token === 'string';
    try {
      const text = added.filter(({ content }) => !notText.includes(content));
      this.tokenizer = new Tokenizer({ ...rest, added_tokens: text, post_processor: null }, settings.data);
    } catch (cause) {
      throw unread(reason(cause), cause);
    }
    const text = (key: 'bos_token' | 'eos_token' | 'unk_token', otherwise: string): string => {
      const value = settings.data[key] as { content?: unknown } | string | null | undefined;
      const content = (typeof value === 'object' ? value?.content : value) ?? otherwise;
      if (typeof content !== 'string') throw unread(`${key} is ${shown(content)}, which is no text`, undefined);
      return content;
    };
    const id = (token: string) => this.tokenizer.token_to_id(token) ?? added.find(({ content }) => content === token)?.id;
    this.eosText = text('eos_token', '</s>');
    const [bos, eos] = [id(text('bos_token', '<s>')), id(this.eosText)];
    if (bos === undefined || eos === undefined)
      throw new KueaError(
        'bad_tokenizer',
        `expected tokens for the beginning and the end of a text in ${from}, such as <s> and </s>, found none`,
      );
    [this.bos, this.eos, this.unk] = [bos, eos, id(text('unk_token', '<unk>'))];
    this.vocabulary = 1 + [...this.tokenizer.get_vocab().values()].reduce((highest, id) => Math.max(highest, id), 0);
  }

  /** Ids of a text; nothing is put before or after it. Special tokens that are written out in it (`</s>`) become their ids. */
  encode(text: string): number[] {
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** The text of some ids, without special tokens. Bytes that are no UTF-8 become U+FFFD. */
  decode(ids: readonly number[]): string {
    // A model may have more ids than its tokenizer, and a tokenizer no token for them.
    const known = this.named ? [...ids] : ids.filter((id) => this.tokenizer.id_to_token(id) !== undefined);
    return known.length === 0 ? '' : this.tokenizer.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  }

  /** Decodes ids as they come: `push` returns the text that has become certain, whole characters alone; `end` what is left over. */
  stream(): { push(id: number): string; end(): string } {
    const ids: number[] = [];
    // Text up to `read` has been returned. It is decoded together with the ids from `start` on, for a space at the very start would be
    // taken off.
    let [start, read] = [0, 0];
    const rest = () => this.decode(ids.slice(start)).slice(this.decode(ids.slice(start, read)).length);
    return {
      push: (id) => {
        ids.push(id);
        const text = rest();
        if (text === '' || text.endsWith('\ufffd')) return '';
        [start, read] = [read, ids.length];
        return text;
      },
      end: rest,
    };
  }
}

/** An object out of a JSON file, or null when there is no such file. Throws KueaError `bad_tokenizer`. */
export async function readJson(file: string): Promise<Record<string, unknown> | null> {
  const bytes = await readIfThere(file, largestJson);
  if (bytes === null) return null;
  try {
    const parsed: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof parsed !== 'object' || parsed === null) throw new Error('it holds no object');
    return parsed as Record<string, unknown>;
  } catch (cause) {
    throw new KueaError('bad_tokenizer', `expected JSON in ${file}: ${reason(cause)}`, { cause });
  }
}

/**
 * The tokenizer of a model's folder: `tokenizer.json` if there is one, else SentencePiece's `tokenizer.model` (with `legacy` of
 * tokenizer_config.json, true when it says nothing, as Hugging Face reads it). Throws KueaError `tokenizer_not_found` or `bad_tokenizer`.
 */
export async function openTokenizer(folder: string): Promise<TextTokenizer> {
  const config = (await readJson(join(folder, 'tokenizer_config.json'))) ?? {};
  const json = await readJson(join(folder, 'tokenizer.json'));
  if (json) return new TextTokenizer(json, config, join(folder, 'tokenizer.json'));
  const file = join(folder, 'tokenizer.model');
  const model = await readIfThere(file, largestModel);
  if (!model)
    throw new KueaError(
      'tokenizer_not_found',
      `expected tokenizer.json or tokenizer.model in ${folder}, found neither: copy it from the language model that this one was made from`,
    );
  return new TextTokenizer(fromSentencePiece(model, file, config['legacy'] !== false), config, file);
}
