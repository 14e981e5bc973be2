/**
 * What a fresh clone lacks before anything of kuea can run: npm's packages, the native addon, the compiled TypeScript. Each is made only
 * when it is missing or older than its sources. Plain Node: node_modules may not be there yet.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/**
 * For what runs after the set-up. Idle threads sleep instead of spinning: the demo and the tests take small steps, often on a busy machine,
 * where two processes that spin for the same cores slow each other down tenfold.
 */
export const environment = { OMP_WAIT_POLICY: 'passive', ...process.env };

const json = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8'));

/** Whether every package of package-lock.json (those for other platforms aside) is installed in the version it names. */
function packagesInstalled() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const found = JSON.parse(readFileSync(installed, 'utf8')).packages;
  return Object.entries(json('package-lock.json').packages).every(
    ([path, wanted]) => path === '' || wanted.optional || found[path]?.version === wanted.version,
  );
}

/** Latest modification, in milliseconds, of the named files and of everything in the named folders. */
function newest(...names) {
  const time = (path) => {
    const found = statSync(path, { throwIfNoEntry: false });
    if (!found) return 0;
    return found.isDirectory() ? Math.max(found.mtimeMs, ...readdirSync(path).map((name) => time(join(path, name)))) : found.mtimeMs;
  };
  return Math.max(...names.map((name) => time(join(root, name))));
}

/** The record of the last build that finished, and whether that build is as new as its sources. */
function addonBuild() {
  const file = join(root, 'build', 'Release', 'kuea.build.json');
  if (!existsSync(file)) return { current: false, cuda: false };
  const { version, libtorch, cuda } = JSON.parse(readFileSync(file, 'utf8'));
  const sources = newest('native', 'CMakeLists.txt', 'scripts/build-native.mjs', 'scripts/find-libtorch.mjs', 'scripts/find-cuda.mjs');
  return {
    current: version === json('package.json').version && existsSync(libtorch.prefix) && statSync(file).mtimeMs >= sources,
    cuda: Boolean(cuda),
  };
}

const compiled = () => newest('dist/tsconfig.tsbuildinfo') >= newest('lib', 'test', 'tsconfig.json');

function npm(why, ...args) {
  console.log(`${why}: npm ${args.join(' ')}`);
  const { status, error } = spawnSync('npm', args, { cwd: root, stdio: 'inherit' });
  if (error || status !== 0)
    throw new Error(`"npm ${args.join(' ')}" failed (${error?.message ?? `exit code ${status}`}): the lines above say why`);
}

/** Brings the working copy to the state in which kuea runs. Throws an Error that names the command that failed. */
export function setUp() {
  // Development packages too: the compiler and the test runner are among them, whatever NODE_ENV says.
  if (!packagesInstalled()) npm("npm's packages are missing or old", 'ci', '--include=dev', '--no-audit', '--no-fund');
  const { current, cuda } = addonBuild();
  // What was built with CUDA is built with CUDA again.
  if (!current) npm('the native addon is missing or old', 'run', 'build:native', ...(cuda ? ['--', '--cuda'] : []));
  if (compiled()) return;
  // What was compiled of files that have gone would run as well.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  npm('the compiled TypeScript is missing or old', 'run', 'build');
}
