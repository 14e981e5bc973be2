/**
 * npm run lint: formatting, lint rules, and lines of at most 140 columns, in all that is tracked or about to be. With --write, mends
 * what can be mended.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from './setup.mjs';

const columns = 140;

const require = createRequire(join(root, 'package.json'));
const run = (command, args) => spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;

/** Files that git knows or would add, goldens aside. */
function sources() {
  const list = ['ls-files', '--cached', '--others', '--exclude-standard', '-z', '--', ':!test/golden', ':!package-lock.json'];
  const names = execFileSync('git', list, { cwd: root, encoding: 'utf8' }).split('\0');
  return names.filter((name) => /\.(ts|cts|mjs|h|cpp|cu|cmake|py|sh|sbatch|yaml)$/.test(name) && existsSync(join(root, name)));
}

function longLines(files) {
  const long = [];
  for (const name of files) {
    const lines = readFileSync(join(root, name), 'utf8').split('\n');
    for (const [i, line] of lines.entries())
      if (line.length > columns) long.push(`${name}:${i + 1}: ${line.length} columns, ${columns} at most`);
  }
  for (const line of long) console.error(line);
  return long.length === 0;
}

const write = process.argv.includes('--write');
const files = sources();
const native = files.filter((name) => /\.(h|cpp|cu)$/.test(name));
const checks = [
  run(process.execPath, [require.resolve('@biomejs/biome/bin/biome'), 'check', '--error-on-warnings', ...(write ? ['--write'] : [])]),
  run(join(root, 'node_modules', '.bin', 'clang-format'), write ? ['-i', ...native] : ['--dry-run', '--Werror', ...native]),
  longLines(files),
];
if (checks.includes(false)) {
  console.error('lint: see above; "npm run format" mends what a tool can');
  process.exitCode = 1;
}
