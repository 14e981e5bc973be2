import { z } from 'zod';

/** Ids of a vocabulary end below it: an array of all ids is made. LLaMA has 32,000 tokens, and the largest vocabularies 262,144. */
export const mostTokens = 1 << 20;
/** What a step puts into a text for each of its characters, and steps in a row, at most: together they could fill the memory. */
const piece = z.string().max(4);
const mostSteps = 4;

const id = z.int().min(0).lt(mostTokens);
/** Text to be replaced. No regular expression is taken from a file: some never end. */
const pattern = z.strictObject({ String: z.string().min(1).max(256) });
const replace = z.object({ type: z.literal('Replace'), pattern, content: piece });

const normalizer = z.discriminatedUnion('type', [z.object({ type: z.literal('Prepend'), prepend: piece }), replace]);

const metaspace = z.object({
  type: z.literal('Metaspace'),
  replacement: piece.optional(),
  str_rep: piece.optional(),
  prepend_scheme: z.enum(['always', 'first', 'never']).optional(),
  add_prefix_space: z.boolean().optional(),
  split: z.boolean().optional(),
});

/** Whole words: the demo's. */
const words = z.object({ type: z.literal('Whitespace') });

const decoder = z.discriminatedUnion('type', [
  replace,
  metaspace,
  z.object({ type: z.literal('WordPiece'), prefix: piece, cleanup: z.boolean().nullish() }),
  z.object({ type: z.literal('ByteFallback') }),
  z.object({ type: z.literal('Fuse') }),
  z.object({
    type: z.literal('Strip'),
    content: piece,
    start: z.int().min(0).max(16),
    stop: z.int().min(0).max(16),
  }),
]);

/** One step, or a sequence of them. */
const steps = <Step extends z.ZodType, Key extends string>(step: Step, key: Key) =>
  z.union([step, z.object({ type: z.literal('Sequence'), [key]: z.array(step).max(mostSteps) })]).nullable();

const suffix = z.string().max(16).nullish();

const vocab = z.record(z.string(), id);

const model = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BPE'),
    vocab,
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    unk_token: z.string().nullish(),
    fuse_unk: z.boolean().nullish(),
    byte_fallback: z.boolean().nullish(),
    ignore_merges: z.boolean().nullish(),
    end_of_word_suffix: suffix,
    continuing_subword_suffix: suffix,
  }),
  z.object({
    type: z.literal('WordPiece'),
    vocab,
    unk_token: z.string(),
    continuing_subword_prefix: piece,
    max_input_chars_per_word: z.int().min(1).max(100),
  }),
]);

/**
 * The parts of a tokenizer.json that LLaMA's tokenizers and the demo's have, as far as they change ids or text. The post-processor is not
 * among them: it adds tokens around a text, which is never asked for here.
 */
export const tokenizerSchema = z.object({
  added_tokens: z
    .array(z.looseObject({ id, content: z.string().min(1).max(1024) }))
    .max(1 << 16)
    .default([]),
  normalizer: steps(normalizer, 'normalizers').default(null),
  pre_tokenizer: z.discriminatedUnion('type', [metaspace, words]).nullable().default(null),
  decoder: steps(decoder, 'decoders').default(null),
  model,
});

/** What of a tokenizer_config.json changes ids or text. */
export const tokenizerConfigSchema = z.object({
  bos_token: z.unknown().optional(),
  eos_token: z.unknown().optional(),
  unk_token: z.unknown().optional(),
  additional_special_tokens: z.array(z.unknown()).max(4096).nullish(),
  remove_space: z.boolean().nullish(),
  do_lowercase_and_remove_accent: z.boolean().nullish(),
});
