/** Whole training runs of the published loop in eager PyTorch, float64 (scripts/golden/align_trace.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import type { AlignLine, AlignOptions } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';

export type Numbers = Pick<AlignLine, 'loss' | 'kernel_loss' | 'anchor_loss' | 'cosine_to_original' | 'gamma' | 'c' | 'sigma'>;

export const golden = JSON.parse(readFileSync(join(packageRoot(), 'test/golden/align/traces.json'), 'utf8')) as {
  batch: number;
  steps: number;
  runs: { name: string; options: Partial<AlignOptions>; trace: Numbers[] }[];
};

/** What a run of ours must be given to be comparable. */
export const common = {
  student: join(packageRoot(), 'configs/demo/clip'),
  teacher: join(packageRoot(), 'configs/demo/dinov2'),
  data: join(packageRoot(), 'test/golden/align/pixels.safetensors'),
  batchSize: golden.batch,
  steps: golden.steps,
  shuffle: false,
  scheduler: 'constant',
  logEvery: 1,
} as const;

/** The parameters of a kernel that is not the run's are in the golden alone. */
const others = { polynomial: ['sigma'], gaussian: ['gamma', 'c'], cosine: ['gamma', 'c', 'sigma'] };

export function agree(found: AlignLine[], expected: Numbers[], tolerance: number, kernel: keyof typeof others = 'polynomial'): void {
  expect(found).to.have.length(expected.length);
  expected.forEach((line, i) => {
    for (const [key, value] of Object.entries(line) as [keyof Numbers, number][]) {
      if (others[kernel].includes(key)) {
        expect(found[i]).not.to.have.property(key);
        continue;
      }
      // The anchor starts at 0 and is then a small difference of large numbers.
      const size = Math.max(Math.abs(value), key === 'anchor_loss' ? 1e-3 : 0);
      expect(found[i]![key], `${key} of step ${i + 1}`).to.be.closeTo(value, tolerance * size);
    }
  });
}
