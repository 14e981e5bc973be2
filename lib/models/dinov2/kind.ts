import type { Dinov2Arch } from '../../native/addon.js';
import type { Kind } from '../kind.js';
import { imagenetStatistics } from '../preprocessing.js';
import { transformerCost } from '../transformer-cost.js';
import { type Dinov2Layout, dinov2Keys, dinov2Layout, isDinov2Extra, unwrapDinov2 } from './keys.js';
import { dinov2Shape, dinov2ShapeOfConfig } from './shape.js';

/** DINOv2, with or without registers, MLP or SwiGLU: the teacher. */
export const dinov2: Kind<Dinov2Arch, Dinov2Layout> = {
  name: 'a DINOv2',
  family: 'dinov2',
  roles: ['teacher'],
  statistics: imagenetStatistics,
  exports: {},
  cost: transformerCost<Dinov2Arch>({
    prefix: ({ registers }) => 1 + registers,
    mlpMatrices: ({ ffn }) => (ffn === 'swiglu' ? 3 : 2),
    dim: ({ width }) => width,
    projected: () => 0,
  }),

  detect(tensors) {
    const plain = unwrapDinov2(tensors);
    const layout = dinov2Layout(plain);
    return layout && { layout, tensors: plain };
  },
  shape: dinov2Shape,
  shapeOfConfig: (ref, config) => config && dinov2ShapeOfConfig(ref, config),
  keys: (arch, layout = 'hub') => dinov2Keys(layout, arch),
  ignores: (_layout, name) => isDinov2Extra(name),
  textTower: () => null,
  inputSize: ({ imageSize }) => Math.min(imageSize, 224),
  metadata: ({ heads }) => ({ heads: String(heads) }),
};
