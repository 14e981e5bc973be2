import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

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

/** The rooms of lib/, from the ground up. A room knows those on floors below its own, and not its neighbours. */
const floors = [
  ['errors', 'package'],
  ['regular-file'],
  ['native', 'text', 'config'],
  ['files', 'distributed'],
  ['data'],
  ['models'],
  ['run'],
  ['embed', 'generate', 'demo'],
  ['eval'],
  ['align', 'lora'],
  ['cli'],
];

const floorOf = (room: string) => floors.findIndex((floor) => floor.includes(room));

/** Imports, of types too, that lead from a room into another. index.ts is the front door: it shows all rooms. */
function imports(): { file: string; from: string; to: string }[] {
  const roomOf = (file: string) => file.split('/')[1]!.replace(/\.c?ts$/, '');
  return files('lib', /\.c?ts$/).flatMap((file) =>
    Array.from(read(file).matchAll(/(?:from|import) '(\.[^']*)'|import\('(\.[^']*)'\)/g), ([, named, called]) => ({
      file,
      from: roomOf(file),
      to: roomOf(join(dirname(file), (named ?? called)!)),
    })).filter(({ from, to }) => from !== to && from !== 'index'),
  );
}
/** The folders of native/ that know libtorch but not Node. */
const core = ['runtime', 'ops', 'nn', 'models', 'weights', 'optim', 'dist', 'train', 'eval'];

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
    for (const folder of core) {
      expect(files(`native/${folder}`, /\.h$/), folder).to.not.be.empty;
      expect(including(folder, /napi|#include "bind\//), folder).to.deep.equal([]);
    }
  });

  it('has no native folder that none of these rules knows', () => {
    const folders = readdirSync(join(root, 'native'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(folders.map(({ name }) => name).sort()).to.deep.equal([...core, 'kernels', 'bind', 'cmake', 'twin'].sort());
  });

  it('keeps mathematics out of bind/', () => {
    // from_blob makes a tensor of memory that JavaScript owns; every other operator computes.
    expect(including('bind', /#include <ATen\/(ops\/(?!from_blob\.h)|TensorOperators|Functions|ATen)|torch\/csrc\/autograd/)).to.deep.equal(
      [],
    );
  });

  it("keeps the tests' twin out of the addon", () => {
    for (const folder of [...core, 'kernels', 'bind']) expect(including(folder, /#include "twin\//), folder).to.deep.equal([]);
  });

  it('includes napi.h in one place', () => {
    expect(including('bind', /#include <napi\.h>/)).to.deep.equal(['native/bind/napi_setup.h']);
  });

  it('has what the scripts import of it', () => {
    const imported = files('scripts', /\.(mjs|py)$/).flatMap((file) =>
      Array.from(read(file).matchAll(/dist\/((?:lib|test)\/[\w/-]+)\.js/g), ([, module]) => ({ file, module: `${module}.ts` })),
    );
    expect(imported.length).to.be.greaterThan(10);
    expect(imported.filter(({ module }) => !existsSync(join(root, module)))).to.deep.equal([]);
  });

  it('imports from lower floors alone', () => {
    const upward = imports().filter(({ from, to }) => floorOf(to) >= floorOf(from));
    expect(upward.map(({ file, to }) => `${file} imports ${to}`)).to.deep.equal([]);
  });

  it('has a floor for every room, and a room for every floor', () => {
    const rooms = readdirSync(join(root, 'lib')).map((name) => name.replace(/\.ts$/, ''));
    expect(rooms.filter((room) => room !== 'index').sort()).to.deep.equal(floors.flat().sort());
  });
});
