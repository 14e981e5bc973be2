import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';

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

  it('names a field that is missing', () => {
    expect(() => addon.openTrainer({} as never)).to.throw(TypeError, 'expected an object for kernel');
  });
});
