import { KueaError, reason } from '../errors.js';
import { mostTokens } from './tokenizer-json.js';

/** SentencePiece's types of piece. */
const unknownPiece = 2;
const controlPiece = 3;
const userDefinedPiece = 4;

/** Characters of a piece at most; LLaMA's longest has 16. Every way to part it in two is looked at. */
const longestPiece = 256;

interface Piece {
  text: string;
  score: number;
  type: number;
}

type Field = { number: number; value: number } | { number: number; value: Buffer };

/** The fields of one protobuf message: varints and 32-bit words as numbers (their bits), strings and messages as bytes. */
function* fields(bytes: Buffer): Generator<Field> {
  let at = 0;
  const varint = () => {
    // Multiplied, not shifted: 64-bit values occur; those that matter here are small.
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('it ends within a number');
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const take = (length: number) => {
    if (at + length > bytes.length) throw new Error(`it ends within a field of ${length} bytes`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    if (key % 8 === 0) yield { number, value: varint() };
    else if (key % 8 === 1) yield { number, value: take(8) };
    else if (key % 8 === 2) yield { number, value: take(varint()) };
    else if (key % 8 === 5) yield { number, value: take(4).readUInt32LE() };
    else throw new Error(`it has a field of the unknown kind ${key % 8}`);
  }
}

function float(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
}

function readPiece(bytes: Buffer): Piece {
  const piece: Piece = { text: '', score: 0, type: 1 };
  for (const { number, value } of fields(bytes)) {
    if (number === 1 && typeof value !== 'number') piece.text = value.toString('utf8');
    else if (number === 2 && typeof value === 'number') piece.score = float(value);
    else if (number === 3 && typeof value === 'number') piece.type = value;
  }
  if (piece.text.length > longestPiece) throw new Error(`it has a piece of ${piece.text.length} characters`);
  return piece;
}

/** The last value of each numeric field of a message, by number. */
function numbers(bytes: Buffer): Map<number, number> {
  return new Map([...fields(bytes)].flatMap(({ number, value }) => (typeof value === 'number' ? [[number, value] as const] : [])));
}

/** What a `tokenizer.model` says: its pieces in the order of their ids, and the settings that change its output. */
function readModel(bytes: Buffer): { pieces: Piece[]; trainer: Map<number, number>; normalizer: Map<number, number>; charsmap: number } {
  const pieces: Piece[] = [];
  let [trainer, normalizer, charsmap] = [new Map<number, number>(), new Map<number, number>(), 0];
  for (const { number, value } of fields(bytes)) {
    if (typeof value === 'number') continue;
    if (number === 1) pieces.push(readPiece(value));
    else if (number === 2) trainer = numbers(value);
    else if (number === 3) {
      normalizer = numbers(value);
      for (const field of fields(value)) if (field.number === 2 && typeof field.value !== 'number') charsmap = field.value.length;
    }
    if (pieces.length > mostTokens) throw new Error(`it has more than ${mostTokens} pieces`);
  }
  return { pieces, trainer, normalizer, charsmap };
}

/** Pairs of pieces that join to a piece, the best first: by the score of the whole, then as they would be listed in a merges.txt. */
function mergesOf(pieces: readonly Piece[]): [string, string][] {
  const ids = new Map(pieces.map(({ text }, id) => [text, id]));
  const merges: { pair: [string, string]; score: number; left: number; right: number }[] = [];
  for (const { text, score } of pieces) {
    const letters = [...text];
    for (let i = 1, cut = letters[0]?.length ?? 0; i < letters.length; cut += letters[i++]!.length) {
      const pair: [string, string] = [text.slice(0, cut), text.slice(cut)];
      const [left, right] = [ids.get(pair[0]), ids.get(pair[1])];
      if (left !== undefined && right !== undefined) merges.push({ pair, score, left, right });
    }
  }
  return merges.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right).map(({ pair }) => pair);
}

/**
 * A SentencePiece BPE model (`tokenizer.model`, the only tokenizer file of the original LLaVA and Vicuna) as the object that a
 * `tokenizer.json` holds. `legacy` is that of Hugging Face's LlamaTokenizer: true puts SentencePiece's dummy space before every stretch of
 * text between special tokens, false before the first alone. Throws KueaError `bad_tokenizer` for a damaged file and for a model of another
 * kind.
 */
export function fromSentencePiece(bytes: Buffer, file: string, legacy: boolean): Record<string, unknown> {
  let model: ReturnType<typeof readModel>;
  try {
    model = readModel(bytes);
    if (model.pieces.length === 0) throw new Error('it has no pieces');
  } catch (cause) {
    throw new KueaError('bad_tokenizer', `expected a SentencePiece model in ${file}, found a damaged or other file: ${reason(cause)}`, {
      cause,
    });
  }
  const { pieces, trainer, normalizer, charsmap } = model;
  // TrainerSpec 3: model_type, 2 = BPE. NormalizerSpec 2: precompiled_charsmap, 3: add_dummy_prefix, 4: remove_extra_whitespaces.
  if (trainer.get(3) !== 2)
    throw new KueaError('bad_tokenizer', `expected a BPE model in ${file}, as LLaMA's is, found model_type ${trainer.get(3) ?? 1}`);
  if (charsmap > 0 || normalizer.get(3) === 0 || (normalizer.get(4) ?? 1) !== 0) {
    throw new KueaError(
      'bad_tokenizer',
      `expected ${file} to keep text as it is behind a dummy space, as LLaMA's does, found other normalisation`,
    );
  }
  const special = (type: number) => type === unknownPiece || type === controlPiece;
  const added = pieces.flatMap(({ text, type }, id) =>
    special(type) || type === userDefinedPiece ? [{ id, content: text, normalized: false, special: special(type) }] : [],
  );
  const space = '▁';
  return {
    version: '1.0',
    added_tokens: added,
    ...(legacy
      ? {
          normalizer: {
            type: 'Sequence',
            normalizers: [
              { type: 'Prepend', prepend: space },
              { type: 'Replace', pattern: { String: ' ' }, content: space },
            ],
          },
          pre_tokenizer: null,
        }
      : { normalizer: null, pre_tokenizer: { type: 'Metaspace', replacement: space, prepend_scheme: 'first', split: false } }),
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: space }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: pieces.find(({ type }) => type === unknownPiece)?.text ?? null,
      fuse_unk: true,
      // TrainerSpec 35.
      byte_fallback: trainer.get(35) === 1,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map(({ text }, id) => [text, id])),
      merges: mergesOf(pieces),
    },
  };
}
