/**
 * npm test: sets up what is missing, lints, then runs mocha over the compiled tests. Arguments go to mocha: npm test -- --grep scenes, or
 * npm test -- dist/test/unit/demo/scenes.test.js; either leaves out the linting. npm run test:fast runs what needs no child process.
 */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { environment, root, setUp } from './setup.mjs';

const fast = ['unit', 'native', 'numerics'];

/** Runs a script of node's to its end; the exit code is ours unless it is 0. */
function run(...args) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, env: environment, stdio: 'inherit' });
  process.exitCode ||= status ?? 1;
}

try {
  setUp();
  const mocha = createRequire(join(root, 'package.json')).resolve('mocha/bin/mocha.js');
  const options = process.argv.slice(2).filter((option) => option !== '--fast');
  // Not in .mocharc.json: mocha would add them to the files that are named here.
  const folders =
    options.length < process.argv.length - 2 ? fast.map((folder) => `dist/test/${folder}/**/*.test.js`) : ['dist/test/**/*.test.js'];
  const files = options.some((option) => option.endsWith('.js')) ? [] : folders;
  if (options.length === 0) run(join(root, 'scripts', 'lint.mjs'));
  run(mocha, ...options, ...files);
} catch (error) {
  console.error(`test: ${error.message}`);
  process.exitCode = 1;
}
