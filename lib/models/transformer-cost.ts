import type { Arch } from '../native/addon.js';
import type { Cost } from './kind.js';

/** How a vision transformer differs from another in what it costs. */
interface Particulars<A> {
  /** Tokens before those of the patches: the class token, registers. */
  prefix(arch: A): number;
  /** Matrices of width x mlpWidth in a block's MLP. */
  mlpMatrices(arch: A): number;
  dim(arch: A): number;
  /** Numbers that the class token is projected to after the last block; 0 where it is not. */
  projected(arch: A): number;
}

/** The cost of a vision transformer of which the class token is read. */
export function transformerCost<A extends Arch>({ prefix, mlpMatrices, dim, projected }: Particulars<A>): Cost<A> {
  const patches = ({ patchSize }: A, size: number) => (size / patchSize) ** 2;
  const tokens = (arch: A, size: number) => patches(arch, size) + prefix(arch);
  return {
    dim,
    tokens,
    forwardFlops(arch, size) {
      const { width, layers, patchSize, mlpWidth } = arch;
      const all = tokens(arch, size);
      const mlp = width * mlpWidth * mlpMatrices(arch);
      const block = (rows: number) => 2 * (2 * all * width * width + rows * (2 * width * width + mlp) + 2 * rows * all * width);
      const ends = 2 * patches(arch, size) * 3 * patchSize ** 2 * width + 2 * width * projected(arch);
      return ends + (layers - 1) * block(all) + block(1);
    },
    keptBytes(arch, precision, checkpointing) {
      const { width, layers, mlpWidth, imageSize } = arch;
      const item = precision === 'bf16' ? 2 : 4;
      // Of each token, in units of the width: two residual inputs, both norms' outputs, qkv, attention's output, and the hidden layer
      // before and after its activation.
      const perToken = checkpointing ? 4 : 8 + item * (2 + 3 + 1 + (2 * mlpWidth) / width);
      return tokens(arch, imageSize) * width * layers * perToken;
    },
  };
}
