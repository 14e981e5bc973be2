import { KueaError } from '../errors.js';
import type { AddonInfo } from './addon.js';

/**
 * The device that a process computes on: 'cpu' and 'cuda:N' as they stand, 'cuda' is the GPU with the process's number on its machine,
 * 'auto' is 'cuda' where the build has it and a GPU is visible, else 'cpu'. Throws KueaError `no_device` when this build or this machine
 * does not have it.
 */
export function resolveDevice(
  device: string,
  { cudaBuilt, cudaDevices }: Pick<AddonInfo, 'cudaBuilt' | 'cudaDevices'>,
  localRank = 0,
): string {
  if (device === 'cpu' || (device === 'auto' && (cudaBuilt === null || cudaDevices === 0))) return 'cpu';
  const refuse = (found: string, remedy: string) =>
    new KueaError('no_device', `expected a GPU for device ${device}, found ${found}: ${remedy}, or use device cpu`);
  if (cudaBuilt === null) throw refuse('a build for the CPU alone', 'run "npm run build:native -- --cuda"');
  if (cudaDevices === 0) throw refuse('no device visible', "see nvidia-smi, the driver's version and CUDA_VISIBLE_DEVICES");
  const index = device === 'cuda' || device === 'auto' ? localRank : Number(device.slice('cuda:'.length));
  if (index >= cudaDevices)
    throw refuse(
      `${cudaDevices} visible, and this process wants number ${index}`,
      'count from 0, start at most one process a GPU, and see CUDA_VISIBLE_DEVICES',
    );
  return `cuda:${index}`;
}
