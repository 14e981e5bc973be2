import { KueaError } from '../errors.js';
import type { StoredTensor, Tensors } from '../files/tensors.js';

/** Shape of a tensor that a model of this kind always has, of `rank` dimensions. Throws KueaError `bad_weights`. */
export function shapeOf(tensors: Tensors, name: string, ref: string, rank: number): number[] {
  const tensor: StoredTensor | undefined = tensors.get(name);
  if (!tensor) throw new KueaError('bad_weights', `expected a tensor ${name} in ${ref}, found none`);
  if (tensor.shape.length !== rank)
    throw new KueaError(
      'bad_weights',
      `expected ${rank} dimensions of ${name} in ${ref}, found [${tensor.shape.slice(0, 8).join(', ')}]: it is another model's`,
    );
  return tensor.shape;
}

/** One past the highest N of the names `prefix`N.`...`. */
export function layersOf(tensors: Tensors, prefix: string): number {
  let layers = 0;
  for (const name of tensors.keys()) {
    const number = name.startsWith(prefix) ? /^\d+(?=\.)/.exec(name.slice(prefix.length)) : null;
    if (number) layers = Math.max(layers, Number(number[0]) + 1);
  }
  return layers;
}

/** Side of the square grid that position embeddings are for. */
export function sideOf(tokens: number, ref: string): number {
  const side = Math.sqrt(tokens);
  if (!Number.isInteger(side))
    throw new KueaError('bad_weights', `expected position embeddings of a square grid in ${ref}, found ${tokens} patches`);
  return side;
}

/**
 * What every number of a shape lies between. The largest published models have a third of these; beyond them a config is damaged or
 * hostile, and looking for what it describes would take for ever.
 */
const bounds: Record<string, { name: string; least: number; most: number }> = {
  width: { name: 'a width', least: 1, most: 65536 },
  layers: { name: 'a number of layers', least: 1, most: 1000 },
  heads: { name: 'a number of heads', least: 1, most: 4096 },
  mlpWidth: { name: 'a width of the MLP', least: 1, most: 2 ** 20 },
  patchSize: { name: 'a patch size', least: 1, most: 512 },
  imageSize: { name: 'an image size', least: 1, most: 8192 },
  embedDim: { name: 'a projection to', least: 0, most: 65536 },
  registers: { name: 'a number of registers', least: 0, most: 4096 },
  context: { name: 'a context length', least: 1, most: 2 ** 20 },
  vocabulary: { name: 'a vocabulary', least: 1, most: 2 ** 24 },
};

/**
 * A shape that can be computed: every number within bounds, heads that divide the width, patches that divide the image. Returns it. Throws
 * KueaError `unsupported_model`.
 */
export function checkedShape<S extends object>(ref: string, shape: S): S {
  const numbers = shape as Record<string, unknown>;
  const { width, heads, imageSize, patchSize } = numbers as Record<string, number | undefined>;
  if (width !== undefined && heads !== undefined && (!Number.isInteger(heads) || heads < 1 || width % heads !== 0))
    throw new KueaError(
      'unsupported_model',
      `expected a number of heads that divides the width ${width}, found ${heads} for ${ref}: a folder with config.json says the ` +
        `true number`,
    );
  for (const [key, { name, least, most }] of Object.entries(bounds)) {
    const value = numbers[key];
    if (value === undefined || (Number.isInteger(value) && (value as number) >= least && (value as number) <= most)) continue;
    throw new KueaError('unsupported_model', `expected ${name} from ${least} to ${most} for ${ref}, found ${value}`);
  }
  if (imageSize !== undefined && patchSize !== undefined && imageSize % patchSize !== 0)
    throw new KueaError(
      'unsupported_model',
      `expected patches that divide the image for ${ref}, found ${patchSize} and ${imageSize} pixels`,
    );
  return shape;
}
