/**
 * Where the CUDA compiler is: nvcc in CUDA_HOME or CUDA_PATH, else on the PATH, else in /usr/local/cuda. Which toolkit it belongs to it
 * says itself: an nvcc on the PATH may be a script or a link into any folder.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The CUDA that the pinned libtorch is built for: nvcc's major version must be its own. */
export const cudaMajor = '13';

/** @returns {{ nvcc: string, home: string, version: string }} */
export function findCuda(env = process.env) {
  const chosen = ['CUDA_HOME', 'CUDA_PATH'].find((name) => env[name]);
  const candidates = chosen ? [join(env[chosen], 'bin', 'nvcc')] : ['nvcc', '/usr/local/cuda/bin/nvcc'];
  const run = (nvcc, ...args) => spawnSync(nvcc, args, { encoding: 'utf8', env });
  const nvcc = candidates.find((candidate) => run(candidate, '--version').status === 0);
  const remedy = `install the CUDA ${cudaMajor} toolkit (nvcc), or set CUDA_HOME to where it is`;
  if (!nvcc)
    throw new Error(
      chosen
        ? `${chosen}=${env[chosen]}, but ${candidates[0]} does not run: ${remedy}`
        : `no CUDA compiler: nvcc is neither on the PATH nor in /usr/local/cuda/bin: ${remedy}`,
    );
  const version = run(nvcc, '--version').stdout.match(/release (\d+\.\d+)/)?.[1] ?? 'unknown';
  if (version.split('.')[0] !== cudaMajor)
    throw new Error(`${nvcc} is CUDA ${version}, and the CUDA build needs CUDA ${cudaMajor}: ${remedy}`);
  const { stdout, stderr } = run(nvcc, '--dryrun', '-x', 'cu', '-c', '/dev/null');
  const bin = `${stdout}${stderr}`.match(/^#\$ _HERE_=(.*)$/m)?.[1];
  if (!bin || !existsSync(join(dirname(bin), 'include', 'cuda_runtime.h')))
    throw new Error(`the toolkit of ${nvcc} has no include/cuda_runtime.h: ${remedy}`);
  return { nvcc: join(bin, 'nvcc'), home: dirname(bin), version };
}
