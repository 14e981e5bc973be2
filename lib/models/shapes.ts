import { KueaError } from '../errors.js';
import type { StoredTensor, Tensors } from '../files/tensors.js';
import type { Json } from './model-folder.js';

/** Shape of a tensor that a model of this kind always has. Throws KueaError `bad_weights`. */
export function shapeOf(tensors: Tensors, name: string, ref: string): number[] {
  const tensor: StoredTensor | undefined = tensors.get(name);
  if (!tensor) throw new KueaError('bad_weights', `expected a tensor ${name} in ${ref}, found none`);
  return tensor.shape;
}

/** One past the highest N of the names `prefix`N.`...`. */
export function layersOf(tensors: Tensors, prefix: string): number {
  let layers = 0;
  for (const name of tensors.keys()) {
    if (name.startsWith(prefix)) layers = Math.max(layers, Number.parseInt(name.slice(prefix.length), 10) + 1);
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

/** A number of a config, or what it is when the config does not say. */
export const numberOf = (config: Json, key: string, fallback: number): number => (typeof config[key] === 'number' ? config[key] : fallback);
