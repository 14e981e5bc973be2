/**
 * Fetches the pinned CPU libtorch into vendor/: pip downloads the wheel (any mirror or proxy that pip is set up for works), and only
 * torch/lib, torch/include and torch/share are unpacked. Unpacked beside its name and renamed, so a half-unpacked one is never used.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { vendored } from './find-libtorch.mjs';

export const pinned = 'torch==2.13.0';

const unpack = `
import sys, zipfile
wheel, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    for name in z.namelist():
        if name.startswith(("torch/lib/", "torch/include/", "torch/share/", "nvidia/")):
            z.extract(name, out)
`;

/** What a CUDA wheel's libtorch_cpu.so still needs, in the places where its RPATH looks for them. */
const cudaRuntime = ['nvidia-cuda-runtime', 'nvidia-cuda-cupti'];

export function fetchLibtorch(target = vendored) {
  const python = process.env.PYTHON ?? 'python3';
  const run = (args) => execFileSync(python, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  mkdirSync(dirname(target), { recursive: true });
  const work = mkdtempSync(join(dirname(target), '.fetch-'));
  try {
    console.log(`fetching ${pinned} with pip`);
    const download = (what) => run(['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', work, what]);
    download(pinned);
    const wheels = () => readdirSync(work).filter((f) => f.endsWith('.whl')).map((f) => join(work, f));
    const cpuOnly = wheels().some((f) => f.includes('+cpu'));
    if (!cpuOnly) for (const name of cudaRuntime) download(name);
    for (const wheel of wheels()) run(['-c', unpack, wheel, join(work, 'tree')]);
    rmSync(target, { recursive: true, force: true });
    renameSync(join(work, 'tree', 'torch'), target);
    // From vendor/libtorch/lib the wheel's RPATH ../../nvidia/... is vendor/nvidia/...
    const nvidia = join(work, 'tree', 'nvidia');
    if (existsSync(nvidia)) {
      rmSync(join(dirname(target), 'nvidia'), { recursive: true, force: true });
      renameSync(nvidia, join(dirname(target), 'nvidia'));
    }
  } catch (error) {
    throw new Error(`fetching ${pinned} failed: "${python} -m pip download" needs a Python 3 with pip and a package index that serves it; or set LIBTORCH to a libtorch of your own`, { cause: error });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
