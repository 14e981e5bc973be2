/**
 * Scenes of coloured shapes that the program draws itself: images whose every fact is known, for the demo and for tests. A scene is a pure
 * function of (seed, index); nothing here reads a clock, a file or Math.random.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import sharp from 'sharp';

import { KueaError } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';

export const SHAPES = ['circle', 'square', 'triangle', 'star', 'cross'] as const;
export const COLOURS = {
  red: '#d62020',
  green: '#1c8c3c',
  blue: '#2040d0',
  yellow: '#f0c800',
  orange: '#f07810',
  purple: '#8c28a0',
  black: '#101010',
} as const;
export const BACKGROUNDS = { white: '#ffffff', grey: '#b8b8b8', beige: '#e8d8b8', sky: '#b8dcf0' } as const;

export type Shape = (typeof SHAPES)[number];
export type Colour = keyof typeof COLOURS;
export type Background = keyof typeof BACKGROUNDS;

/** `x`, `y`: centre, and `size`: side of the square around it, all as fractions of the frame; y grows downwards. */
export interface SceneObject {
  shape: Shape;
  colour: Colour;
  x: number;
  y: number;
  size: number;
}

export interface Scene {
  seed: number;
  index: number;
  background: Background;
  objects: SceneObject[];
}

export type Place = 'top left' | 'top' | 'top right' | 'left' | 'centre' | 'right' | 'bottom left' | 'bottom' | 'bottom right';

/** One kind of object (a colour and a shape) in a scene: how many there are, and where, in the order of the scene's objects. */
export interface KindFacts {
  shape: Shape;
  colour: Colour;
  count: number;
  places: Place[];
}

const PLACES: readonly Place[] = ['top left', 'top', 'top right', 'left', 'centre', 'right', 'bottom left', 'bottom', 'bottom right'];
const GRID = 3;
const CELL = 1 / GRID;
const SMALLEST = 0.2;
const LARGEST = 0.31;

/** Uniform numbers in [0, 1): splitmix32 started from a hash of the three, so that neighbouring scenes share nothing. */
function randomStream(seed: number, index: number, stream: number): () => number {
  const mix = (h: number): number => {
    h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
    h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
    return (h ^ (h >>> 15)) >>> 0;
  };
  let state = mix(mix(mix(seed) + index) + stream);
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    return mix(state) / 2 ** 32;
  };
}

/** The first `n` of a random order of `items`. */
function pick<T>(items: readonly T[], n: number, random: () => number): T[] {
  const rest = [...items];
  return Array.from({ length: n }, () => rest.splice(Math.floor(random() * rest.length), 1)[0] as T);
}

/**
 * Draws scene `index` of the endless sequence that `seed` names: one or two kinds of object, one to four of each. Every object keeps to
 * its own cell of a 3 by 3 grid, so none overlap and none leave the frame.
 */
export function drawScene(seed: number, index: number): Scene {
  const random = randomStream(seed, index, 0);
  const [background] = pick(Object.keys(BACKGROUNDS) as Background[], 1, random);
  const everyKind = SHAPES.flatMap((shape) => (Object.keys(COLOURS) as Colour[]).map((colour) => ({ shape, colour })));
  const kinds = pick(everyKind, random() < 0.4 ? 1 : 2, random);
  const things = kinds.flatMap((kind) => Array.from({ length: 1 + Math.floor(random() * 4) }, () => kind));
  const cells = pick(
    PLACES.map((_, cell) => cell),
    things.length,
    random,
  );
  const round = (value: number) => Math.round(value * 1e4) / 1e4;
  const objects = things.map((thing, i) => {
    const cell = cells[i] as number;
    const size = round(SMALLEST + random() * (LARGEST - SMALLEST));
    const within = (row: number) => round((row + 0.5) * CELL + (random() - 0.5) * (CELL - size - 2e-4));
    return { ...thing, x: within(cell % GRID), y: within(Math.floor(cell / GRID)), size };
  });
  return { seed, index, background: background as Background, objects };
}

/** The ninth of the frame that holds the object's centre. */
export function placeOf({ x, y }: Pick<SceneObject, 'x' | 'y'>): Place {
  return PLACES[Math.floor(y * GRID) * GRID + Math.floor(x * GRID)] as Place;
}

/** The fine facts of a scene, a kind at a time: what a question can be asked about. */
export function describe(scene: Scene): KindFacts[] {
  const kinds = new Map<string, KindFacts>();
  for (const { shape, colour, x, y } of scene.objects) {
    const key = `${colour} ${shape}`;
    const facts = kinds.get(key) ?? { shape, colour, count: 0, places: [] };
    facts.count += 1;
    facts.places.push(placeOf({ x, y }));
    kinds.set(key, facts);
  }
  return [...kinds.values()];
}

export const plural = (shape: Shape): string => (shape === 'cross' ? 'crosses' : `${shape}s`);

/**
 * One English sentence, coarse as captions on the web are: it names colours and shapes, sometimes not all of them, says no more of a
 * count than singular or plural, and never where anything is.
 */
export function caption(scene: Scene): string {
  const random = randomStream(scene.seed, scene.index, 1);
  const kinds = pick(describe(scene), describe(scene).length, random);
  const opening = pick(['', '', 'a picture of ', 'a drawing of ', 'an image with '], 1, random)[0] as string;
  const detail = random();
  const names = kinds.map(({ shape, colour, count }) => {
    const name = detail < 0.7 ? `${colour} ${shape}` : shape;
    if (count > 1) return detail < 0.7 ? `${colour} ${plural(shape)}` : plural(shape);
    return `${/^[aeio]/.test(name) ? 'an' : 'a'} ${name}`;
  });
  if (detail >= 0.85) return `${opening}${[...new Set(kinds.map((kind) => kind.colour))].join(' and ')} shapes`;
  return `${opening}${[...new Set(names)].join(' and ')}`;
}

/** The outline of each shape in the square from (-0.5, -0.5) to (0.5, 0.5); a circle is not a polygon. */
const OUTLINES: Record<Exclude<Shape, 'circle'>, [number, number][]> = {
  square: [
    [-0.45, -0.45],
    [0.45, -0.45],
    [0.45, 0.45],
    [-0.45, 0.45],
  ],
  triangle: [
    [0, -0.5],
    [0.5, 0.45],
    [-0.5, 0.45],
  ],
  star: Array.from({ length: 10 }, (_, i) => {
    const [radius, angle] = [i % 2 === 0 ? 0.5 : 0.22, (i * Math.PI) / 5];
    return [radius * Math.sin(angle), -radius * Math.cos(angle)];
  }),
  cross: [
    [-0.15, -0.5],
    [0.15, -0.5],
    [0.15, -0.15],
    [0.5, -0.15],
    [0.5, 0.15],
    [0.15, 0.15],
    [0.15, 0.5],
    [-0.15, 0.5],
    [-0.15, 0.15],
    [-0.5, 0.15],
    [-0.5, -0.15],
    [-0.15, -0.15],
  ],
};

function toSvg(scene: Scene, size: number): string {
  const elements = scene.objects.map(({ shape, colour, x, y, size: side }) => {
    const fill = `fill="${COLOURS[colour]}"`;
    if (shape === 'circle') return `<circle cx="${x}" cy="${y}" r="${side / 2}" ${fill}/>`;
    const points = OUTLINES[shape].map(([dx, dy]) => `${(x + dx * side).toFixed(5)},${(y + dy * side).toFixed(5)}`);
    return `<polygon points="${points.join(' ')}" ${fill}/>`;
  });
  const ground = `<rect width="1" height="1" fill="${BACKGROUNDS[scene.background]}"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 1 1">${ground}${elements.join('')}</svg>`;
}

/**
 * The scene as an image file in memory, `size` by `size` RGB pixels. JPEG keeps full chroma: half of it would bleed colours at 64 pixels.
 */
export function renderScene(scene: Scene, size: number, format: 'jpeg' | 'png' = 'jpeg'): Promise<Buffer> {
  const image = sharp(Buffer.from(toSvg(scene, size))).removeAlpha();
  return format === 'png' ? image.png().toBuffer() : image.jpeg({ quality: 92, chromaSubsampling: '4:4:4' }).toBuffer();
}

export interface WriteOptions {
  /**
   * `flat`: all images in `dir`. `tree`: ImageFolder's layout, one folder a class; the class is the first object's shape. Default `flat`.
   */
  layout?: 'flat' | 'tree';
  /** Images rendered at a time. Default 8. */
  concurrency?: number;
}

/** One line of `metadata.jsonl`, in the convention of Hugging Face's image folders (`file_name`, `text`). */
export interface SceneRecord {
  file_name: string;
  text: string;
  scene: Scene;
}

/**
 * Writes scenes 0 to count - 1 of `seed` as JPEGs of `size` pixels under `dir`, and a `metadata.jsonl` with captions and facts. That
 * file comes last and in one piece: where it is, the folder is complete. Throws KueaError `bad_argument` for a count or size below 1.
 */
export async function writeScenes(
  dir: string,
  count: number,
  seed: number,
  size: number,
  options: WriteOptions = {},
): Promise<SceneRecord[]> {
  for (const [name, value] of Object.entries({ count, size })) {
    if (!Number.isInteger(value) || value < 1)
      throw new KueaError('bad_argument', `writeScenes: expected ${name} to be a whole number of at least 1, found ${value}`);
  }
  const { layout = 'flat', concurrency = 8 } = options;
  const folders = layout === 'tree' ? SHAPES.map((shape) => join(dir, shape)) : [dir];
  await Promise.all(folders.map((folder) => mkdir(folder, { recursive: true })));

  const records: SceneRecord[] = Array.from({ length: count }, (_, index) => {
    const scene = drawScene(seed, index);
    const name = `scene-${String(index).padStart(6, '0')}.jpg`;
    return { file_name: layout === 'tree' ? `${scene.objects[0]?.shape}/${name}` : name, text: caption(scene), scene };
  });
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let record = records[next++]; record; record = records[next++]) {
      await writeFile(join(dir, record.file_name), await renderScene(record.scene, size));
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, worker));

  await writeFileAtomically(join(dir, 'metadata.jsonl'), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return records;
}
