import { loadAddon } from '../../lib/native/load.js';

const { cudaBuilt, cudaDevices } = loadAddon().info();
const missing =
  cudaBuilt === null
    ? 'the addon is built for the CPU alone'
    : cudaDevices === 0
      ? `built with CUDA ${cudaBuilt}, no device visible`
      : null;

/** describe, for what needs a GPU; without one its tests are skipped, and the title says why. */
export function describeOnGpu(name: string, body: () => void): void {
  if (missing === null) describe(name, body);
  else describe.skip(`${name} (skipped: ${missing})`, body);
}
