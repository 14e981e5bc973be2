import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';

import { KueaError } from '../errors.js';
import { packageRoot, packageVersion } from '../package.js';
import type { Addon } from './addon.js';

const require = createRequire(import.meta.url);

/** What scripts/build-native.mjs writes beside the addon. */
export interface BuildRecord {
  version: string;
  platform: string;
  libtorch: { prefix: string; version: string; cuda: boolean; how: string };
  /** Version of the CUDA that it was built with, null for the CPU flavour. */
  cuda: string | null;
}

/** Reads the build record. Throws KueaError `addon_missing` when there is no finished build. */
export function buildRecord(root = packageRoot()): BuildRecord {
  const file = join(root, 'build', 'Release', 'kuea.build.json');
  if (!existsSync(file)) {
    throw new KueaError('addon_missing', 'the native addon is not built (no build/Release/kuea.build.json): run "npm run build:native"');
  }
  return JSON.parse(readFileSync(file, 'utf8')) as BuildRecord;
}

/** What libgomp and libtorch read from the environment when they are loaded, where the user has not said it. */
function settings(): Record<string, string> {
  const { OMP_WAIT_POLICY: waiting, GOMP_SPINCOUNT: spins, TORCH_CPP_LOG_LEVEL: level } = process.env;
  return {
    // libgomp's waiting threads spin for milliseconds by default, and starve whatever else wants the cores: the decoders of this very
    // process, or a second run. A short spin keeps the speed of a machine that is ours alone.
    ...(waiting === undefined && spins === undefined ? { GOMP_SPINCOUNT: '3000' } : {}),
    // c10d tells of each failed connection on stderr, pages of it; every failure that matters becomes an error of ours.
    ...(level === undefined ? { TORCH_CPP_LOG_LEVEL: 'FATAL' } : {}),
  };
}

/** Runs `load` with these variables set, and takes them away again: the environment, and what child processes inherit, is the host's. */
function withEnvironment<T>(variables: Record<string, string>, load: () => T): T {
  Object.assign(process.env, variables);
  try {
    return load();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

/** What the addon exports for this file alone. */
interface LoaderHooks {
  /** The class that its errors are made with. */
  useErrorClass(errorClass: typeof KueaError): void;
  /** Called when the process exits: native work that runs then ends with it, and the exit code stays. */
  guardExit(): void;
}

let loaded: Addon | undefined;

/**
 * The addon, loaded once a process after its build record was checked. Throws KueaError `addon_missing`, `addon_stale` (built for another
 * version or platform, or its libtorch has gone) or `addon_broken` (it does not load).
 */
export function loadAddon(): Addon {
  if (loaded) return loaded;
  const root = packageRoot();
  const record = buildRecord(root);
  const version = packageVersion(root);
  const platform = `${process.platform}-${process.arch}`;
  const remedy = 'run "npm run build:native" again';
  if (record.version !== version || record.platform !== platform) {
    throw new KueaError(
      'addon_stale',
      `the native addon was built for kuea ${record.version} on ${record.platform}, but this is kuea ${version} on ${platform}: ${remedy}`,
    );
  }
  if (!existsSync(join(record.libtorch.prefix, 'lib', 'libtorch_cpu.so'))) {
    throw new KueaError(
      'addon_stale',
      `the native addon was linked with libtorch in ${record.libtorch.prefix}, which is no longer there: ${remedy}`,
    );
  }
  try {
    const addon = withEnvironment(settings(), () => (require('node-gyp-build') as (root: string) => Addon & LoaderHooks)(root));
    addon.useErrorClass(KueaError);
    // After the last JavaScript, so that what ends first is the work, and then the libraries that it uses.
    if (isMainThread) process.once('exit', () => addon.guardExit());
    loaded = addon;
    return addon;
  } catch (cause) {
    throw new KueaError('addon_broken', `the native addon does not load (${(cause as Error).message}): ${remedy}, then "kuea doctor"`, {
      cause,
    });
  }
}
