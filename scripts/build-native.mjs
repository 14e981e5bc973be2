/**
 * npm run build:native [-- --cuda]: finds libtorch (fetching the pinned one when nothing is given), builds native/ with cmake-js, and
 * writes the build record that lib/native/load.ts checks before it loads the addon.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fetchLibtorch, pinned } from './fetch-libtorch.mjs';
import { cudaMajor, findCuda } from './find-cuda.mjs';
import { findLibtorch, notFound, root } from './find-libtorch.mjs';

const release = join(root, 'build', 'Release');
const record = join(release, 'kuea.build.json');

function libtorch(cuda) {
  let { found, tried } = findLibtorch(process.env, cuda);
  if (!found) {
    try {
      fetchLibtorch(cuda);
    } catch (error) {
      throw notFound([
        ...tried,
        { place: `pip (${pinned(cuda)})`, outcome: error.message, remedy: `python3 -m pip download --no-deps ${pinned(cuda)}` },
      ]);
    }
    found = findLibtorch(process.env, cuda).found;
    if (!found) throw notFound(tried);
  }
  return found;
}

/** A build tree made for another libtorch, or without CUDA, keeps its old include paths and flags in object files: it goes. */
function dropOtherTree(settings) {
  const cache = join(root, 'build', 'CMakeCache.txt');
  if (!existsSync(cache)) return;
  const text = readFileSync(cache, 'utf8');
  const cached = (name) => text.match(new RegExp(`^${name}:\\w+=(.*)$`, 'm'))?.[1] ?? '';
  if (Object.entries(settings).some(([name, value]) => cached(name) !== value))
    rmSync(join(root, 'build'), { recursive: true, force: true });
}

function main() {
  const { cuda } = parseArgs({ options: { cuda: { type: 'boolean', default: false } } }).values;
  const toolkit = cuda ? findCuda() : null;
  const torch = libtorch(cuda);
  console.log(`libtorch ${torch.version}${torch.cuda ? ' with CUDA' : ''} from ${torch.how}: ${torch.prefix}`);
  if (toolkit) console.log(`nvcc ${toolkit.version}: ${toolkit.home}`);
  const settings = { KUEA_LIBTORCH: torch.prefix, KUEA_CUDA: cuda ? cudaMajor : '', KUEA_CUDA_HOME: toolkit?.home ?? '' };
  dropOtherTree(settings);
  rmSync(record, { force: true });

  const cmakeJs = createRequire(join(root, 'package.json')).resolve('cmake-js/bin/cmake-js');
  const ccache = spawnSync('ccache', ['--version']).status === 0 ? ['--CDCMAKE_CXX_COMPILER_LAUNCHER=ccache'] : [];
  const jobs = process.env.KUEA_BUILD_JOBS ?? '2';
  const run = (command, ...options) =>
    execFileSync(process.execPath, [cmakeJs, command, '--log-level', 'warn', ...options], { cwd: root, stdio: 'inherit' });
  // Two commands, because "compile" wipes the whole tree when one file does not compile.
  run('configure', ...Object.entries(settings).map(([name, value]) => `--CD${name}=${value}`), ...ccache);
  run('build', '--parallel', jobs);

  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const built = { version, libtorch: torch, cuda: toolkit ? toolkit.version : null, platform: `${process.platform}-${process.arch}` };
  writeFileSync(`${record}.partial`, `${JSON.stringify(built, null, 2)}\n`);
  renameSync(`${record}.partial`, record);
  console.log(`built ${join('build', 'Release', 'kuea.node')}`);
}

try {
  main();
} catch (error) {
  console.error(`build:native: ${error.message}`);
  process.exitCode = 1;
}
