import { createRequire } from 'node:module';
import { join } from 'node:path';

import type { Addon, KernelLossResult } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/package.js';

type Call = Omit<Parameters<Addon['kernelLoss']>[0], 'backend' | 'device'>;

/** The second addon that build:native makes: the kernel loss in the GPU's blocks, on the CPU, thread after thread (native/twin). */
const { gridLoss } = createRequire(import.meta.url)(join(packageRoot(), 'build/twin/kuea_twin.node')) as {
  gridLoss(call: Call & { reversed: boolean }): KernelLossResult;
};

/** The loss with the first thread of a block first; `reversed` with the last one first: a missing barrier would make a difference. */
export const twin = (call: Call, reversed = false): KernelLossResult => gridLoss({ ...call, reversed });
