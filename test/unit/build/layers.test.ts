import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { packageRoot } from '../../../lib/package.js';

const root = packageRoot();

function files(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name) && !name.includes('node_modules'))
    .map((name) => join(folder, name));
}

const read = (file: string) => readFileSync(join(root, file), 'utf8');
const including = (folder: string, pattern: RegExp) =>
  files(`native/${folder}`, /\.(h|cpp|cu)$/).filter((file) => pattern.test(read(file)));

describe('the source tree', () => {
  it('has no file of more than 400 lines', () => {
    const all = [
      ...files('lib', /\.c?ts$/),
      ...files('native', /\.(h|cpp|cu)$/),
      ...files('scripts', /\.(mjs|py)$/),
      ...files('test', /\.ts$/),
    ];
    expect(all.length).to.be.greaterThan(100);
    expect(all.filter((file) => read(file).split('\n').length > 401)).to.deep.equal([]);
  });

  it('keeps libtorch and Node out of the kernels', () => {
    expect(including('kernels', /#include [<"](ATen|torch|c10|napi|node|bind|ops|nn|runtime|models|train)/)).to.deep.equal([]);
  });

  it('keeps Node out of the core', () => {
    for (const folder of ['runtime', 'ops', 'nn', 'models', 'weights', 'optim', 'train'])
      expect(including(folder, /napi|#include "bind\//), folder).to.deep.equal([]);
  });

  it('includes napi.h in one place', () => {
    expect(including('bind', /#include <napi\.h>/)).to.deep.equal(['native/bind/napi_setup.h']);
  });
});
