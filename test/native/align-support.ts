import { join } from 'node:path';

import { openWeights } from '../../lib/models/open.js';
import type { NativeTrainer, TrainerSpec } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';

/** An open trainer of the demo's models, with one slot of four images. */
export async function openAlignTrainer(changed: Partial<TrainerSpec> = {}): Promise<NativeTrainer> {
  const root = packageRoot();
  const student = await openWeights(join(root, 'configs/demo/clip'), { role: 'student' });
  const teacher = await openWeights(join(root, 'configs/demo/dinov2'), { role: 'teacher' });
  return loadAddon().openTrainer({
    student: { arch: student.arch, weights: student.plan, mean: student.mean, std: student.std },
    teacher: { arch: teacher.arch, weights: teacher.plan, mean: teacher.mean, std: teacher.std },
    teacherDim: teacher.arch.width,
    teacherSize: student.arch.imageSize,
    kernel: { kind: 'polynomial', gamma: 0.0032, c: 0.19, sigma: 8.7, sigmaTeacher: 15.8 },
    trainKernel: true,
    w: 0.5,
    lossBackend: 'fused',
    precision: 'fp32',
    device: 'cpu',
    optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 1e-4 },
    maxGradNorm: 0,
    batchSize: 4,
    microBatch: 2,
    activationCheckpointing: false,
    slots: 1,
    distributed: false,
    kernelScope: 'global',
    ...changed,
  });
}
