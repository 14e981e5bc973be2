import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect } from 'chai';

import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';
import { Trainer } from './llava-support.js';

/** Names of the methods and properties of an interface of lib/native/addon.ts. */
function declared(name: string): string[] {
  const source = readFileSync(join(packageRoot(), 'lib/native/addon.ts'), 'utf8');
  const body = new RegExp(`export interface ${name} \\{\\n([\\s\\S]*?)\\n\\}`).exec(source)![1]!;
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)[?]?[(:]/gm)].map((match) => match[1]!).sort();
}

describe('the boundary', () => {
  const addon = loadAddon();

  it("exports what lib/native/addon.ts declares, and the loader's hooks", () => {
    expect(Object.keys(addon).sort()).to.deep.equal([...declared('Addon'), 'useErrorClass', 'guardExit'].sort());
  });

  it('says what it was built with', () => {
    const info = addon.info();
    expect(Object.keys(info).sort()).to.deep.equal(declared('AddonInfo'));
    expect(info.libtorch).to.match(/^2\.1[34]\.\d+$/);
    expect(info.threads).to.be.at.least(1);
  });

  it('rejects with KueaError, its code and one line', async () => {
    const weights = [{ parameter: 'proj', source: { file: '/no/such/file', offset: 0, dtype: 'F32' as const, shape: [64, 8] } }];
    const arch = {
      family: 'clip' as const,
      width: 64,
      layers: 1,
      heads: 1,
      mlpWidth: 256,
      patchSize: 8,
      imageSize: 16,
      embedDim: 8,
      activation: 'gelu' as const,
    };
    const error = await addon
      .openEncoder({ arch, weights, mean: [0, 0, 0], std: [1, 1, 1], precision: 'fp32', device: 'cpu' })
      .catch((e: unknown) => e as Error);
    expect(error).to.include({ name: 'KueaError', code: 'unreadable_file' });
    expect((error as Error).message).to.match(/^cannot map \/no\/such\/file: .*$/);
  });

  const kernel = { kind: 'cosine', gamma: 1, c: 0, sigma: 1, sigmaTeacher: 1 } as const;
  const loss = { x: new Float32Array(4), y: new Float32Array(4), n: 2, d: 2, dt: 2, kernel, backend: 'fused', gradient: false } as const;

  it('refuses arrays of other elements, whose bytes would be taken for its own', () => {
    const refused = (call: () => unknown, message: string) =>
      expect(call).to.throw(TypeError, message).with.property('code', 'bad_argument');
    refused(() => addon.kernelLoss({ ...loss, x: new Uint8Array(4) as never }), 'expected a Float32Array for x');
    refused(() => addon.nf4(new Uint8Array(64) as never), 'expected a Float32Array for values');
    refused(() => addon.nf4([] as never), 'expected a Float32Array for values');
    refused(() => addon.writeTensors('/no/such/file', new Uint16Array(4) as never, []), 'expected a Uint8Array for header');
    refused(() => addon.resample({ source: new Float32Array(3) } as never), 'expected a Uint8Array for source');
  });

  it('says what it expects for a backend, a device and a whole number', () => {
    const refused = (change: object, message: string) =>
      expect(() => addon.kernelLoss({ ...loss, ...change }))
        .to.throw(TypeError, message)
        .with.property('code', 'bad_argument');
    refused({ backend: 'chunked' }, 'expected one of fused, plain for backend, found chunked');
    refused({ device: 'gpu' }, 'expected cpu or cuda:N for device, found gpu');
    refused({ device: 'meta' }, 'expected cpu or cuda:N for device, found meta');
    refused({ n: 0.5 }, 'expected an integer for n');
  });

  it('says in one line what libtorch says in pages', async () => {
    // Transposed: the way to a tensor of another rank.
    const source = { file: fileURLToPath(import.meta.url), offset: 0, dtype: 'F32' as const, shape: [2, 2, 2] };
    const error = await addon.writeTensors(join(tmpdir(), 'kuea-none'), new Uint8Array(0), [{ source, transpose: true }]).catch((e) => e);
    expect(error).to.have.property('code', 'libtorch');
    expect(error.message).to.match(/^libtorch could not compute this \(t\(\) expects .*\): if the models' files are whole, please report/);
    expect(error.message).to.not.contain('\n');
  });

  it('counts the memory of models, and forgets that of models that are closed', async () => {
    const trainer = await Trainer.open({ slots: 1 });
    await trainer.update([[0, 1, 2, 3, 4, 5, 6]]);
    const { memory } = addon.info();
    expect(memory.peak).to.be.at.least(memory.inUse);
    await trainer.close();
    const after = addon.info().memory;
    expect(after.cached).to.equal(0);
    expect(after.peak).to.equal(after.inUse);
  });

  it('names a field that is missing', () => {
    expect(() => addon.openTrainer({} as never)).to.throw(TypeError, 'expected an object for kernel');
  });
});
