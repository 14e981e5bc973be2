/**
 * Where libtorch is. Order: LIBTORCH or KUEA_LIBTORCH; vendor/libtorch (vendor/cuda/libtorch for --cuda); the active Python's torch when
 * LIBTORCH_USE_PYTORCH=1. A choice that is explicit and wrong is an error, never skipped: a silently different libtorch is worse than none.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
/** Where fetch-libtorch puts the one for the CPU, and the one with CUDA, whose libraries expect NVIDIA's in ../nvidia. */
export const vendored = (cuda) => (cuda ? join(root, 'vendor', 'cuda', 'libtorch') : join(root, 'vendor', 'libtorch'));
/** Minor versions that native/runtime/torch_compat.h is written for. */
export const supported = ['2.13', '2.14'];

/** @typedef {{ prefix: string, version: string, cuda: boolean, how: string }} Libtorch */

/** Why `prefix` is no usable libtorch, or null. */
function defect(prefix, cuda) {
  for (const part of [
    'include/ATen/ATen.h',
    'include/torch/version.h|include/torch/csrc/api/include/torch/version.h|include/torch/headeronly/version.h',
    'lib/libtorch_cpu.so',
    'lib/libc10.so',
  ]) {
    if (!part.split('|').some((p) => existsSync(join(prefix, p)))) return `${part.split('|')[0]} is missing`;
  }
  const version = versionOf(prefix);
  if (!supported.includes(version.split('.').slice(0, 2).join('.')) && process.env.KUEA_LIBTORCH_ANY_VERSION !== '1') {
    return `it is version ${version}, and kuea needs ${supported.join(' or ')} (KUEA_LIBTORCH_ANY_VERSION=1 tries it all the same)`;
  }
  if (cuda && !hasCuda(prefix)) return 'it is built for the CPU alone (lib/libtorch_cuda.so is missing), and --cuda needs one with CUDA';
  return null;
}

function versionOf(prefix) {
  const headers = ['include/torch/headeronly/version.h', 'include/torch/csrc/api/include/torch/version.h', 'include/torch/version.h'];
  for (const header of headers.map((h) => join(prefix, h)).filter(existsSync)) {
    const text = readFileSync(header, 'utf8');
    const part = (name) => text.match(new RegExp(`#define TORCH_VERSION_${name} (\\d+)`))?.[1];
    if (part('MAJOR')) return [part('MAJOR'), part('MINOR'), part('PATCH')].join('.');
  }
  return 'unknown';
}

const hasCuda = (prefix) => existsSync(join(prefix, 'lib', 'libtorch_cuda.so'));

function describe(prefix, how) {
  const real = realpathSync(prefix);
  return { prefix: real, version: versionOf(real), cuda: hasCuda(real), how };
}

function pythonTorch(env) {
  const python = env.PYTHON ?? 'python3';
  try {
    return execFileSync(python, ['-c', 'import torch, os; print(os.path.dirname(torch.__file__))'], {
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    }).trim();
  } catch (error) {
    const last = String(error.stderr || error.message)
      .trim()
      .split('\n')
      .pop();
    throw new Error(
      `LIBTORCH_USE_PYTORCH=1, but ${python} cannot import torch (${last}): activate the environment that has it, or unset the variable`,
    );
  }
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {boolean} cuda whether it must be one with CUDA
 * @param {string} vendor folder that fetch-libtorch fills
 * @returns {{ found: Libtorch | null, tried: { place: string, outcome: string, remedy: string }[] }}
 */
export function findLibtorch(env = process.env, cuda = false, vendor = vendored(cuda)) {
  const name = relative(root, vendored(cuda));
  const build = `npm run build:native${cuda ? ' -- --cuda' : ''}`;
  const tried = [];
  for (const variable of ['LIBTORCH', 'KUEA_LIBTORCH']) {
    const prefix = env[variable];
    if (!prefix) {
      tried.push({ place: variable, outcome: 'not set', remedy: `export ${variable}=/path/to/libtorch` });
      continue;
    }
    const why = existsSync(prefix) ? defect(prefix, cuda) : 'the folder does not exist';
    if (why)
      throw new Error(
        `${variable}=${prefix} is not a usable libtorch: ${why}. Point it at a libtorch ${supported.join(' or ')}, or unset it.`,
      );
    return { found: describe(prefix, variable), tried };
  }
  if (existsSync(vendor)) {
    const why = defect(vendor, cuda);
    if (!why) return { found: describe(vendor, name), tried };
    tried.push({ place: name, outcome: why, remedy: `rm -r ${name} && ${build}` });
  } else {
    tried.push({ place: name, outcome: 'not there', remedy: `${build} (fetches it)` });
  }
  if (env.LIBTORCH_USE_PYTORCH === '1') {
    const prefix = pythonTorch(env);
    const why = defect(prefix, cuda);
    if (why)
      throw new Error(
        `LIBTORCH_USE_PYTORCH=1, but the torch of the active Python (${prefix}) is not usable: ${why}. Install torch ${supported[0]} ` +
          `there, or unset the variable.`,
      );
    return { found: describe(prefix, 'active Python'), tried };
  }
  tried.push({ place: "the active Python's torch", outcome: 'not asked for', remedy: 'export LIBTORCH_USE_PYTORCH=1' });
  return { found: null, tried };
}

/** The one error for a libtorch that is nowhere: every place, what was there, the command that mends it. */
export function notFound(tried) {
  const lines = tried.map(({ place, outcome, remedy }) => `  ${place}: ${outcome}\n      remedy: ${remedy}`);
  return new Error(`libtorch ${supported.join(' or ')} was not found. Tried:\n${lines.join('\n')}`);
}
