import { KueaError } from '../errors.js';
import type { StoredDtype, TensorBytes } from '../native/addon.js';

/** A tensor as some file stores it. `strides` (elements) is absent when it is row-major. */
export interface StoredTensor {
  file: string;
  offset: number;
  dtype: string;
  shape: number[];
  strides?: number[];
}

export type Tensors = Map<string, StoredTensor>;

const floats: readonly string[] = ['F64', 'F32', 'F16', 'BF16'] satisfies StoredDtype[];

export function toBytes(name: string, { file, offset, dtype, shape, strides }: StoredTensor): TensorBytes {
  if (!floats.includes(dtype)) throw new KueaError('bad_weights', `expected floating point numbers for ${name} of ${file}, found ${dtype}`);
  return { file, offset, dtype: dtype as StoredDtype, shape, ...(strides ? { strides } : {}) };
}
