import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { expect } from 'chai';

import { packageRoot } from '../../../lib/package.js';

interface Finder {
  findCuda(env: Record<string, string>): { nvcc: string; home: string; version: string };
}

describe('finding CUDA', () => {
  let work: string;
  let finder: Finder;
  const path = process.env['PATH']!;

  /** A folder that looks like a CUDA toolkit of this version, whose nvcc says that it lies in `home`. */
  function fake(name: string, release: string, home = join(work, name)): string {
    const toolkit = join(work, name);
    for (const folder of ['bin', 'include']) mkdirSync(join(toolkit, folder), { recursive: true });
    writeFileSync(join(toolkit, 'include/cuda_runtime.h'), '');
    const nvcc = join(toolkit, 'bin/nvcc');
    writeFileSync(
      nvcc,
      `#!/bin/sh\nif [ "$1" = --version ]; then echo 'Cuda compilation tools, release ${release}, V${release}.1'; else echo '#$ ` +
        `_HERE_=${home}/bin' >&2; fi\n`,
    );
    chmodSync(nvcc, 0o755);
    return toolkit;
  }

  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-find-cuda-'));
    finder = (await import(pathToFileURL(join(packageRoot(), 'scripts/find-cuda.mjs')).href)) as Finder;
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  it('takes CUDA_HOME, else the nvcc on the PATH, which says where it lies', () => {
    const home = fake('toolkit', '13.0');
    const found = { home, nvcc: join(home, 'bin/nvcc'), version: '13.0' };
    expect(finder.findCuda({ CUDA_HOME: home, PATH: path })).to.deep.equal(found);
    const wrapper = fake('wrapper', '13.0', home);
    expect(finder.findCuda({ PATH: `${join(wrapper, 'bin')}:${path}` })).to.deep.equal(found);
  });

  it('refuses another version, and a choice that does not run', () => {
    expect(() => finder.findCuda({ CUDA_HOME: fake('old', '12.4'), PATH: path })).to.throw(
      /nvcc is CUDA 12\.4, and the CUDA build needs CUDA 13: install/,
    );
    expect(() => finder.findCuda({ CUDA_HOME: join(work, 'none'), PATH: path })).to.throw(/CUDA_HOME=.*none, but .*nvcc does not run/);
  });
});
