import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { expect } from 'chai';

import { packageRoot } from '../../../lib/package.js';

interface Finder {
  findLibtorch(
    env: Record<string, string>,
    cuda: boolean,
    vendor: string,
  ): { found: { prefix: string; version: string; cuda: boolean; how: string } | null; tried: { place: string }[] };
  notFound(tried: unknown[]): Error;
}

describe('finding libtorch', () => {
  let work: string;
  let finder: Finder;
  const none = () => join(work, 'none');

  /** A folder that looks like a libtorch of this version. */
  function fake(name: string, version = '2.13.0'): string {
    const prefix = join(work, name);
    const [major, minor, patch] = version.split('.');
    for (const folder of ['include/ATen', 'include/torch/headeronly', 'lib']) mkdirSync(join(prefix, folder), { recursive: true });
    for (const file of ['include/ATen/ATen.h', 'lib/libtorch_cpu.so', 'lib/libc10.so']) writeFileSync(join(prefix, file), '');
    writeFileSync(
      join(prefix, 'include/torch/headeronly/version.h'),
      `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`,
    );
    return prefix;
  }

  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-libtorch-'));
    finder = (await import(pathToFileURL(join(packageRoot(), 'scripts/find-libtorch.mjs')).href)) as Finder;
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  it('takes LIBTORCH before vendor/', () => {
    const { found } = finder.findLibtorch({ LIBTORCH: fake('mine') }, false, fake('vendored'));
    expect(found).to.include({ version: '2.13.0', how: 'LIBTORCH', cuda: false });
    expect(found!.prefix).to.match(/mine$/);
  });

  it('takes KUEA_LIBTORCH, then vendor/', () => {
    expect(finder.findLibtorch({ KUEA_LIBTORCH: fake('other', '2.14.1') }, false, none()).found).to.include({
      how: 'KUEA_LIBTORCH',
      version: '2.14.1',
    });
    expect(finder.findLibtorch({}, false, fake('vendored')).found).to.include({ how: 'vendor/libtorch' });
  });

  it('refuses an explicit choice that is wrong, though another would do', () => {
    const good = fake('vendored');
    expect(() => finder.findLibtorch({ LIBTORCH: none() }, false, good)).to.throw(/LIBTORCH=.*the folder does not exist/);
    expect(() => finder.findLibtorch({ LIBTORCH: work }, false, good)).to.throw(/is missing/);
    expect(() => finder.findLibtorch({ LIBTORCH: fake('old', '2.1.0') }, false, good)).to.throw(
      /it is version 2\.1\.0, and kuea needs 2\.13 or 2\.14/,
    );
  });

  it('asks the active Python only when told to, and says so when it has no torch', () => {
    const python = join(work, 'python');
    writeFileSync(python, `#!/bin/sh\necho '${fake('site')}'\n`);
    chmodSync(python, 0o755);
    const env = { PYTHON: python, PATH: process.env['PATH']! };
    expect(finder.findLibtorch(env, false, none()).found).to.equal(null);
    expect(finder.findLibtorch({ ...env, LIBTORCH_USE_PYTORCH: '1' }, false, none()).found).to.include({ how: 'active Python' });
    writeFileSync(python, '#!/bin/sh\necho "ModuleNotFoundError: No module named \'torch\'" >&2; exit 1\n');
    expect(() => finder.findLibtorch({ ...env, LIBTORCH_USE_PYTORCH: '1' }, false, none())).to.throw(
      /cannot import torch .*No module named 'torch'/,
    );
  });

  it('with --cuda refuses one that is for the CPU alone, and looks in a folder of its own', () => {
    const cpu = fake('mine');
    expect(() => finder.findLibtorch({ LIBTORCH: cpu }, true, none())).to.throw(
      /LIBTORCH=.*is built for the CPU alone .*--cuda needs one with CUDA/,
    );
    writeFileSync(join(cpu, 'lib/libtorch_cuda.so'), '');
    expect(finder.findLibtorch({ LIBTORCH: cpu }, true, none()).found).to.include({ cuda: true });
    const { tried } = finder.findLibtorch({}, true, fake('vendored'));
    expect(tried.find(({ place }) => place === 'vendor/cuda/libtorch')).to.have.property(
      'remedy',
      'rm -r vendor/cuda/libtorch && npm run build:native -- --cuda',
    );
  });

  it('lists every place with its remedy when there is none', () => {
    const { found, tried } = finder.findLibtorch({}, false, none());
    expect(found).to.equal(null);
    const { message } = finder.notFound(tried);
    for (const place of ['LIBTORCH', 'KUEA_LIBTORCH', 'vendor/libtorch', "the active Python's torch"])
      expect(message).to.include(`  ${place}: `);
    expect(message.match(/remedy: /g)).to.have.length(tried.length);
  });
});
