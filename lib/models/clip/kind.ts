import type { ClipVisionArch } from '../../native/addon.js';
import { identity } from '../key-map.js';
import type { Kind } from '../kind.js';
import { clipStatistics } from '../preprocessing.js';
import { transformerCost } from '../transformer-cost.js';
import { clipExports } from './export.js';
import { type ClipLayout, clipLayout, isClipExtra, isText, visionPairs, withoutText, withVisionModel } from './keys.js';
import { clipMetadata, clipShape, clipShapeOfConfig, clipShapeOfOpenClip } from './shape.js';
import { clipTextTower } from './text.js';

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
    const known = withoutText(withVisionModel(tensors));
    const layout = clipLayout(known);
    return layout && { layout, tensors: known };
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
  textTower: clipTextTower,
  inputSize: ({ imageSize }) => imageSize,
  metadata: clipMetadata,
};
