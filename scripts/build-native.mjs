/**
 * npm run build:native: finds libtorch (fetching the pinned one when nothing is given), builds native/ with cmake-js, and writes the build
 * record that lib/native/load.ts checks before it loads the addon.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { findLibtorch, notFound, root } from './find-libtorch.mjs';
import { fetchLibtorch, pinned } from './fetch-libtorch.mjs';

const release = join(root, 'build', 'Release');
const record = join(release, 'kuea.build.json');

function libtorch() {
  let { found, tried } = findLibtorch();
  if (!found) {
    try {
      fetchLibtorch();
    } catch (error) {
      throw notFound([...tried, { place: `pip (${pinned})`, outcome: error.message, remedy: `python3 -m pip download --no-deps ${pinned}` }]);
    }
    found = findLibtorch().found;
    if (!found) throw notFound(tried);
  }
  return found;
}

function main() {
  const torch = libtorch();
  console.log(`libtorch ${torch.version}${torch.cuda ? ' with CUDA' : ''} from ${torch.how}: ${torch.prefix}`);
  // A build tree made for another libtorch keeps its old include paths in object files.
  const last = existsSync(record) ? JSON.parse(readFileSync(record, 'utf8')) : null;
  if (last && last.libtorch.prefix !== torch.prefix) rmSync(join(root, 'build'), { recursive: true, force: true });
  rmSync(record, { force: true });

  const cmakeJs = createRequire(join(root, 'package.json')).resolve('cmake-js/bin/cmake-js');
  const ccache = spawnSync('ccache', ['--version']).status === 0 ? ['--CDCMAKE_CXX_COMPILER_LAUNCHER=ccache'] : [];
  const jobs = process.env.KUEA_BUILD_JOBS ?? '2';
  const run = (command, ...options) => execFileSync(process.execPath, [cmakeJs, command, '--log-level', 'warn', ...options], { cwd: root, stdio: 'inherit' });
  // Two commands, because "compile" wipes the whole tree when one file does not compile.
  run('configure', `--CDKUEA_LIBTORCH=${torch.prefix}`, ...ccache);
  run('build', '--parallel', jobs);

  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  writeFileSync(`${record}.partial`, `${JSON.stringify({ version, libtorch: torch, platform: `${process.platform}-${process.arch}` }, null, 2)}\n`);
  renameSync(`${record}.partial`, record);
  console.log(`built ${join('build', 'Release', 'kuea.node')}`);
}

try {
  main();
} catch (error) {
  console.error(`build:native: ${error.message}`);
  process.exitCode = 1;
}
