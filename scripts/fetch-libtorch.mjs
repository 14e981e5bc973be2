/**
 * Fetches the pinned libtorch into vendor/: pip downloads the wheels (any mirror or proxy that pip is set up for works), and only libraries
 * and headers are unpacked. Unpacked beside its name and renamed, so a half-unpacked one is never used.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { vendored } from './find-libtorch.mjs';

export const pinned = (cuda) => (cuda ? 'torch==2.14.1' : 'torch==2.13.0');

/** Static libraries and bitcode are for who compiles NVIDIA's own device code. */
const unpack = `
import sys, zipfile
wheel, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    for name in z.namelist():
        nvidia = name.startswith("nvidia/") and ("/lib/" in name or "/include/" in name)
        wanted = nvidia or name.startswith(("torch/lib/", "torch/include/", "torch/share/"))
        if wanted and not name.endswith((".a", ".bc")):
            z.extract(name, out)
`;

/** The requirements of a wheel that are NVIDIA's, one a line, as pip takes them. */
const requirements = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    metadata = z.read(next(n for n in z.namelist() if n.endswith(".dist-info/METADATA"))).decode()
for line in metadata.splitlines():
    if line.startswith(("Requires-Dist: nvidia-", "Requires-Dist: cuda-toolkit")):
        print(line.split(":", 1)[1].split(";")[0].strip())
`;

/** What the libtorch_cpu.so of a CUDA wheel needs even for the CPU. */
const cudaRuntime = ['nvidia-cuda-runtime', 'nvidia-cuda-cupti'];

/** @param {boolean} cuda the one with CUDA, and beside it, in ../nvidia, the libraries of NVIDIA that it names */
export function fetchLibtorch(cuda = false, target = vendored(cuda)) {
  const python = process.env.PYTHON ?? 'python3';
  const torch = pinned(cuda);
  const run = (args) => execFileSync(python, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  mkdirSync(dirname(target), { recursive: true });
  const work = mkdtempSync(join(dirname(target), '.fetch-'));
  try {
    console.log(`fetching ${torch} with pip`);
    const download = (...what) => run(['-m', 'pip', 'download', '--quiet', '--only-binary', ':all:', '--dest', work, ...what]);
    download('--no-deps', torch);
    const wheels = () =>
      readdirSync(work)
        .filter((f) => f.endsWith('.whl'))
        .map((f) => join(work, f));
    const [wheel] = wheels();
    if (cuda) {
      const named = execFileSync(python, ['-c', requirements, wheel], { encoding: 'utf8' }).split('\n').filter(Boolean);
      if (named.length === 0) throw new Error(`${torch} is a wheel for the CPU here`);
      console.log(`fetching ${named.join(', ')}`);
      download(...named);
    } else if (!wheel.includes('+cpu')) {
      download('--no-deps', ...cudaRuntime);
    }
    for (const each of wheels()) run(['-c', unpack, each, join(work, 'tree')]);
    rmSync(target, { recursive: true, force: true });
    renameSync(join(work, 'tree', 'torch'), target);
    // From TARGET/lib the wheel's RPATH ../../nvidia/... is a neighbour of TARGET.
    const nvidia = join(work, 'tree', 'nvidia');
    if (existsSync(nvidia)) {
      rmSync(join(dirname(target), 'nvidia'), { recursive: true, force: true });
      renameSync(nvidia, join(dirname(target), 'nvidia'));
    }
  } catch (error) {
    throw new Error(
      `fetching ${torch} failed: "${python} -m pip download" needs a Python 3 with pip and a package index that serves it; or set ` +
        `LIBTORCH to a libtorch of your own`,
      { cause: error },
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
