/**
 * npm test: sets up what is missing, then runs mocha over the compiled tests. Arguments go to mocha: npm test -- --grep scenes, or
 * npm test -- dist/test/unit/data/scenes.test.js.
 */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { environment, root, setUp } from './setup.mjs';

try {
  setUp();
  const mocha = createRequire(join(root, 'package.json')).resolve('mocha/bin/mocha.js');
  const options = process.argv.slice(2);
  // Not in .mocharc.json: mocha would add it to the files that are named here.
  const files = options.some((option) => option.endsWith('.js')) ? [] : ['dist/test/**/*.test.js'];
  const { status } = spawnSync(process.execPath, [mocha, ...options, ...files], { cwd: root, env: environment, stdio: 'inherit' });
  process.exitCode = status ?? 1;
} catch (error) {
  console.error(`test: ${error.message}`);
  process.exitCode = 1;
}
