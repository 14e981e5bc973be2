import { KueaError, shown } from '../errors.js';
import type { TextTokenizer } from './tokenizer.js';

/** LLaVA's id for the place of an image, and its label for what is not to be learnt. */
export const imageToken = -200;
export const ignoreLabel = -100;

const placeholder = '<image>';
/** Characters of a conversation at most: ten times what fits LLaMA's context, and not so many that cutting them stops the program. */
const longestConversation = 1 << 18;
/** What every conversation begins with. */
export const system =
  'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to ' +
  "the user's questions.";

/** One turn of a conversation, as LLaVA's JSON has it: `from` is human or gpt. */
export interface Turn {
  from: string;
  value: string;
}

/** `ids` with one -200 an image; `labels` as long, -100 where nothing is to be learnt. */
export interface Encoded {
  ids: number[];
  labels: number[];
}

/** Why a conversation is of no use; the reason is a sentence's end: "found ...". */
export class UnusableConversation extends Error {}

/**
 * The turns that count, checked: roles alternate from human on (a first turn of another's is left out, as the reference does), text is
 * text, and a conversation with an image names its place once, in a question. Throws UnusableConversation.
 */
export function checkTurns(turns: unknown, image: boolean): Turn[] {
  if (!Array.isArray(turns) || turns.length === 0) throw new UnusableConversation('no conversation');
  turns.forEach((turn: Partial<Turn> | null, i) => {
    if (typeof turn?.value !== 'string') throw new UnusableConversation(`turn ${i + 1} without text`);
  });
  const characters = (turns as Turn[]).reduce((sum, { value }) => sum + value.length, 0);
  if (characters > longestConversation)
    throw new UnusableConversation(`a conversation of ${characters} characters, of which ${longestConversation} are read at most`);
  const checked = (turns as Turn[]).slice(turns[0].from === 'human' ? 0 : 1);
  checked.forEach(({ from }, i) => {
    const expected = i % 2 === 0 ? 'human' : 'gpt';
    if (from !== expected) throw new UnusableConversation(`a turn from ${shown(from)} where one from "${expected}" is due`);
  });
  if (!checked.some(({ from, value }) => from === 'gpt' && value !== '')) throw new UnusableConversation('no answer to learn');
  if (image) {
    if (checked.some(({ from, value }) => from === 'gpt' && value.includes(placeholder)))
      throw new UnusableConversation(`${placeholder} in an answer`);
    const places = checked.reduce((n, { value }) => n + value.split(placeholder).length - 1, 0);
    if (places !== 1) throw new UnusableConversation(`${places} times ${placeholder} with one image`);
  }
  return checked;
}

/** A question with its image put in front, wherever it stood: LLaVA's normalisation. */
function imageFirst(question: string): string {
  return question.includes(placeholder) ? `${placeholder}\n${question.replaceAll(placeholder, '').trim()}`.trim() : question;
}

/**
 * Ids of a text in which `<image>` stands for an image: each piece is cut on its own, as LLaVA does, which puts a lone space before what
 * follows.
 */
function encodePieces(tokenizer: TextTokenizer, text: string, image: boolean): number[] {
  if (!image) return tokenizer.encode(text);
  return text.split(placeholder).flatMap((piece, i) => [...(i > 0 ? [imageToken] : []), ...tokenizer.encode(piece)]);
}

/**
 * Ids and labels of a conversation in the template vicuna_v1, turn by turn: what is asked is context, and each answer with its end of text
 * is to be learnt. The text is cut only where no token can lie across (after "ASSISTANT:", and at the end of text), so the ids are the
 * reference's, which cuts the whole; the space between "ASSISTANT:" and an answer is the dummy space that the tokenizer puts before the
 * answer.
 *
 * The labels are the reference's too, except where it counts wrongly and then learns nothing of a sample: a question that holds "
 * ASSISTANT: ", an answer that holds "</s>", and a last answer that is empty or missing (or learns "ASSISTANT:" with the answer, after a
 * question that ends so). Here every answer is learnt, and every question is context.
 *
 * `turns` have passed `checkTurns`. `<unk>` written out in a text is dropped, as the reference's attention mask does.
 */
export function encodeConversation(tokenizer: TextTokenizer, turns: readonly Turn[], image: boolean): Encoded {
  const { bos, eos, eosText, unk } = tokenizer;
  const ids = [bos];
  const labels = [ignoreLabel];
  const add = (more: readonly number[], learnt: boolean) => {
    for (const id of more) {
      if (id === unk) continue;
      ids.push(id);
      labels.push(learnt ? id : ignoreLabel);
    }
  };
  let context = `${system} `;
  for (const { from, value } of turns) {
    if (from === 'human') context += `USER: ${image ? imageFirst(value) : value} `;
    else if (value === '') context += 'ASSISTANT:';
    else {
      // No dummy space is put before a special token: there the space is context.
      const before = encodePieces(tokenizer, `${context}ASSISTANT:${value.startsWith(eosText) ? ' ' : ''}`, image);
      // The end of the last answer, with which this context begins, belongs to that answer.
      if (context.startsWith(eosText)) add([before.shift()!], true);
      add(before, false);
      add(tokenizer.encode(value), true);
      context = eosText;
    }
  }
  const rest = encodePieces(tokenizer, context, image);
  if (context.startsWith(eosText)) add([rest.shift() ?? eos], true);
  add(rest, false);
  return { ids, labels };
}

/**
 * Ids of a question up to "ASSISTANT:", for generation. `image` puts one image before it, wherever or whether the question names its place;
 * `system: false` leaves the system's sentence out, as llava-hf's model cards do. Throws KueaError `bad_prompt` when the question is empty
 * or names several images.
 */
export function encodePrompt(
  tokenizer: TextTokenizer,
  question: string,
  { image, system: opening = true }: { image: boolean; system?: boolean },
): number[] {
  const places = question.split(placeholder).length - 1;
  if (image && places > 1)
    throw new KueaError('bad_prompt', `expected ${placeholder} at most once in the question, found it ${places} times`);
  if ((image ? question.replaceAll(placeholder, '') : question).trim() === '')
    throw new KueaError('bad_prompt', `expected a question, found ${JSON.stringify(question)}: ask something`);
  const asked = image ? imageFirst(places === 1 ? question : placeholder + question) : question;
  return [tokenizer.bos, ...encodePieces(tokenizer, `${opening ? `${system} ` : ''}USER: ${asked} ASSISTANT:`, image)];
}

/** Ids with every image's -200 repeated once a patch, for a prompt; `imageRows` as in MicroBatch. */
export function spliceImages(ids: readonly number[], patches: number): { tokens: Int32Array; imageRows: Int32Array } {
  const tokens = Int32Array.from(ids.flatMap((id) => (id === imageToken ? new Array<number>(patches).fill(imageToken) : [id])));
  const places = ids.filter((id) => id === imageToken).length * patches;
  return { tokens, imageRows: Int32Array.from({ length: places }, (_, row) => row) };
}
