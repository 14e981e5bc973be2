/**
 * The scenes of lib/data/scenes.ts with questions and answers in LLaVA's schema: a data set of which every answer is known, for the
 * miniature and for tests.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { forEachConcurrently } from '../data/concurrency.js';
import { KueaError } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';
import { system, type Turn } from '../text/vicuna.js';
import { COLOURS, type Colour, describe, drawScene, plural, renderScene, type Scene, SHAPES, type Shape } from './scenes.js';

export interface Question {
  question: string;
  /** A colour, a number in digits, or one of nine places. */
  answer: string;
}

const howManyShapes = 'How many shapes are there?';
const howMany = (colour: Colour, shape: Shape) => `How many ${colour} ${plural(shape)} are there?`;
const whatColour = (shape: Shape, count: number) => `What colour ${count === 1 ? `is the ${shape}` : `are the ${plural(shape)}`}?`;
const where = (colour: Colour, shape: Shape) => `Where is the ${colour} ${shape}?`;

/**
 * What can be asked about a scene: how many shapes, and of every kind how many, its colour when its shape has one colour, and its place
 * when it is alone.
 */
export function questions(scene: Scene): Question[] {
  const kinds = describe(scene);
  const asked = [{ question: howManyShapes, answer: `${scene.objects.length}` }];
  for (const { colour, shape, count, places } of kinds) {
    asked.push({ question: howMany(colour, shape), answer: `${count}` });
    if (kinds.filter((kind) => kind.shape === shape).length === 1) asked.push({ question: whatColour(shape, count), answer: colour });
    if (count === 1) asked.push({ question: where(colour, shape), answer: places[0]! });
  }
  return asked;
}

/** A record of LLaVA's schema about a scene: the questions one after the other, the image before the first. */
function toRecord(id: string, image: string, asked: readonly Question[]): { id: string; image: string; conversations: Turn[] } {
  const conversations = asked.flatMap(({ question, answer }, i) => [
    { from: 'human', value: i === 0 ? `<image>\n${question}` : question },
    { from: 'gpt', value: answer },
  ]);
  return { id, image, conversations };
}

export interface ConversationScenes {
  /** Scenes to train on, and scenes that are only asked about. */
  train: number;
  heldOut: number;
  seed: number;
  /** Side of the images in pixels. */
  size: number;
}

/**
 * Writes `images/scene-000000.jpg` and so on below `dir`, `train.json` (a conversation a scene, of all its questions) and, for other
 * scenes, `held-out.json` (a record a question). The same on every machine, but for the JPEGs' last bits. Throws KueaError `bad_argument`
 * for a count below 1.
 */
export async function writeConversationScenes(dir: string, { train, heldOut, seed, size }: ConversationScenes): Promise<void> {
  for (const [name, value] of Object.entries({ train, heldOut, size })) {
    if (!Number.isInteger(value) || value < 1)
      throw new KueaError('bad_argument', `writeConversationScenes: expected ${name} to be a whole number of at least 1, found ${value}`);
  }
  await mkdir(join(dir, 'images'), { recursive: true });
  const scenes = Array.from({ length: train + heldOut }, (_, index) => drawScene(seed, index));
  const image = ({ index }: Scene) => `images/scene-${String(index).padStart(6, '0')}.jpg`;
  await forEachConcurrently(scenes.length, 8, async (i) => writeFile(join(dir, image(scenes[i]!)), await renderScene(scenes[i]!, size)));

  const write = (name: string, records: unknown[]) =>
    writeFileAtomically(join(dir, name), `[\n${records.map((record) => JSON.stringify(record)).join(',\n')}\n]\n`);
  // Each conversation begins with another of its questions, so that none is always asked first.
  const turned = (asked: Question[], by: number) => asked.map((_, i) => asked[(i + by) % asked.length]!);
  await write(
    'train.json',
    scenes.slice(0, train).map((scene) => toRecord(`scene-${scene.index}`, image(scene), turned(questions(scene), scene.index))),
  );
  await write(
    'held-out.json',
    scenes
      .slice(train)
      .flatMap((scene) => questions(scene).map((asked, i) => toRecord(`scene-${scene.index}-${i}`, image(scene), [asked]))),
  );
}

/**
 * A tokenizer of whole words that knows the template and all that is asked and answered here, for a model as small as the data: what
 * tokenizer.json and tokenizer_config.json hold. `<unk>` is 0, `<s>` 1, `</s>` 2, as in LLaMA.
 */
export function sceneTokenizer(): { tokenizer: Record<string, unknown>; config: Record<string, unknown>; vocabulary: number } {
  const colours = Object.keys(COLOURS) as Colour[];
  const asked = SHAPES.flatMap((shape) =>
    colours.flatMap((colour) => [howMany(colour, shape), whatColour(shape, 1), whatColour(shape, 2), where(colour, shape)]),
  );
  const text = [system, 'USER: ASSISTANT:', howManyShapes, ...asked, 'top bottom left right centre', '0 1 2 3 4 5 6 7 8 9'].join(' ');
  const special = ['<unk>', '<s>', '</s>'];
  const words = [...special, ...new Set(text.match(/\w+|[^\w\s]+/g))];
  return {
    vocabulary: words.length,
    config: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: special.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: { type: 'Whitespace' },
      post_processor: null,
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: '<unk>',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(words.map((word, id) => [word, id])),
      },
    },
  };
}
