import { type Tensors, toBytes } from '../../files/tensors.js';
import type { ClipVisionArch, TensorBytes } from '../../native/addon.js';
import { identity } from '../key-map.js';
import type { Kind } from '../kind.js';
import { clipStatistics } from '../preprocessing.js';
import { transformerCost } from '../transformer-cost.js';
import { clipExports } from './export.js';
import { type ClipLayout, clipLayout, isClipExtra, isText, visionPairs, withVisionModel } from './keys.js';
import { clipMetadata, clipShape, clipShapeOfConfig, clipShapeOfOpenClip, clipTextArch } from './shape.js';

const prefixes = { openai: 'visual.', visual: '' };

/** CLIP's vision transformer with its projection (Radford et al. 2021), in the layouts of OpenAI, open_clip and Hugging Face. */
export const clip: Kind<ClipVisionArch, ClipLayout> = {
  name: 'a CLIP',
  family: 'clip',
  roles: ['student', 'tower'],
  statistics: clipStatistics,
  exports: clipExports,
  cost: transformerCost<ClipVisionArch>({
    prefix: () => 1,
    mlpMatrices: () => 2,
    dim: ({ embedDim }) => embedDim,
    projected: ({ embedDim }) => embedDim,
  }),

  detect(tensors) {
    const prefixed = withVisionModel(tensors);
    const layout = clipLayout(prefixed);
    return layout && { layout, tensors: prefixed };
  },
  shape: clipShape,
  shapeOfConfig(ref, config, openClip) {
    const type = config?.['model_type'];
    if (config && (type === 'clip' || type === 'clip_vision_model')) return clipShapeOfConfig(ref, config);
    return openClip && clipShapeOfOpenClip(ref, openClip);
  },
  keys(arch, layout = 'visual') {
    return layout === 'hf' ? visionPairs(arch) : identity(visionPairs(arch), prefixes[layout]);
  },
  ignores: (layout, name) => isClipExtra(name) || isText(layout, name),
  textTower({ ref, tensors }, layout) {
    if (layout === 'visual') return null;
    const arch = clipTextArch(ref, tensors, layout);
    return arch && { arch, layout, tensors: textTensors(tensors, layout) };
  },
  inputSize: ({ imageSize }) => imageSize,
  metadata: clipMetadata,
};

function textTensors(tensors: Tensors, layout: 'hf' | 'openai'): Map<string, TensorBytes> {
  const text = new Map<string, TensorBytes>();
  for (const [name, tensor] of tensors) {
    if (isText(layout, name) && !isClipExtra(name)) text.set(name, toBytes(name, tensor));
  }
  return text;
}
