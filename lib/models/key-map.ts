import { KueaError } from '../errors.js';
import { type Tensors, toBytes } from '../files/tensors.js';
import type { LoadStep, TensorBytes } from '../native/addon.js';

/**
 * One parameter of ours and the names of the tensors that another layout keeps it in: several are stacked on dimension 0 (q, k and v of a
 * fused map), and `transpose` says that the other layout has the matrix the other way round.
 */
export interface KeyPair {
  name: string;
  shape: number[];
  stored: string[];
  transpose?: boolean;
}

/** Pairs under the same names in both. */
export function identity(pairs: readonly KeyPair[], prefix = ''): KeyPair[] {
  return pairs.map(({ name, shape }) => ({ name, shape, stored: [prefix + name] }));
}

/** The shape that each of a pair's stored tensors has. */
export function storedShape({ shape, stored, transpose }: KeyPair): number[] {
  const part = [shape[0]! / stored.length, ...shape.slice(1)];
  if (shape.length === 0) return [];
  return transpose ? part.reverse() : part;
}

const equal = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((side, i) => side === b[i]);

function list(what: string, items: string[]): string[] {
  const shown = items.slice(0, 8).join(', ') + (items.length > 8 ? ` and ${items.length - 8} more` : '');
  return items.length > 0 ? [`${what} ${shown}`] : [];
}

/**
 * The load plan of a model whose parameters `pairs` lists, from a file's tensors. `ignored` says which further names are known and not
 * wanted. Throws KueaError `bad_weights` that lists every missing, unexpected and misshapen tensor.
 */
export function planLoad(ref: string, pairs: readonly KeyPair[], tensors: Tensors, ignored: (name: string) => boolean): LoadStep[] {
  const missing: string[] = [];
  const misshapen: string[] = [];
  const used = new Set<string>();
  const plan: LoadStep[] = [];
  for (const pair of pairs) {
    const expected = storedShape(pair);
    pair.stored.forEach((key, part) => {
      const tensor = tensors.get(key);
      used.add(key);
      if (!tensor) missing.push(key);
      else if (!equal(tensor.shape, expected))
        misshapen.push(`${key} [${tensor.shape.join(', ')}] where [${expected.join(', ')}] was expected`);
      else {
        const step: LoadStep = { parameter: pair.name, source: toBytes(key, tensor) };
        if (pair.stored.length > 1) step.row = part * expected[0]!;
        if (pair.transpose) step.transpose = true;
        plan.push(step);
      }
    });
  }
  const unexpected = [...tensors.keys()].filter((name) => !used.has(name) && !ignored(name));
  const faults = [...list('missing', missing), ...list('unexpected', unexpected), ...list('misshapen', misshapen)];
  if (faults.length > 0) throw new KueaError('bad_weights', `the weights of ${ref} do not fit its architecture: ${faults.join('; ')}`);
  return plan;
}

/** Rows [row, row + count) of a stored tensor. */
export function rowsOf(tensor: TensorBytes, row: number, count: number): TensorBytes {
  const itemSize = { F64: 8, F32: 4, F16: 2, BF16: 2 }[tensor.dtype];
  const stride = tensor.strides?.[0] ?? tensor.shape.slice(1).reduce((product, side) => product * side, 1);
  return { ...tensor, offset: tensor.offset + row * stride * itemSize, shape: [count, ...tensor.shape.slice(1)] };
}
