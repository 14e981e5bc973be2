import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { expect } from 'chai';

import { packageRoot } from '../../../lib/package.js';

const root = packageRoot();
const url = (path: string) => JSON.stringify(pathToFileURL(join(root, path)).href);

/** What a program prints as JSON in a process of its own. */
function run(code: string): unknown {
  const { OMP_WAIT_POLICY: _, GOMP_SPINCOUNT: __, TORCH_CPP_LOG_LEVEL: ___, UV_THREADPOOL_SIZE: ____, ...env } = process.env;
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', code], { cwd: root, encoding: 'utf8', env });
  expect(child.stderr).to.equal('');
  return JSON.parse(child.stdout);
}

describe('the process of a host', () => {
  it('keeps its settings of sharp and its environment, whatever is opened in it', () => {
    const changes = run(`
      import { deepStrictEqual } from 'node:assert';
      import sharp from 'sharp';
      sharp.cache({ memory: 70, files: 30, items: 40 });
      sharp.concurrency(3);
      const limits = () => Object.values(sharp.cache()).map(({ max }) => max);
      const state = () => ({ limits: limits(), threads: sharp.concurrency(), env: { ...process.env } });
      const before = state();
      const { openEncoder } = await import(${url('dist/lib/index.js')});
      const encoder = await openEncoder('configs/demo/clip');
      await encoder.encodeImages(['test/golden/demo/scene-000000.jpg']);
      await encoder.close();
      deepStrictEqual(state(), before);
      console.log(JSON.stringify({ limits: before.limits, threads: before.threads }));
    `);
    expect(changes).to.deep.equal({ limits: [70, 30, 40], threads: 3 });
  });

  it('of our own is set up by its programs', () => {
    const state = run(`
      import sharp from 'sharp';
      await import(${url('dist/lib/cli/pool.cjs')});
      const { memory, files, items } = sharp.cache();
      console.log(JSON.stringify([memory.max, files.max, items.max, sharp.concurrency(), Number(process.env.UV_THREADPOOL_SIZE) >= 4]));
    `);
    expect(state).to.deep.equal([0, 0, 0, 1, true]);
  });
});
