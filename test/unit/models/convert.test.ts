import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { convertCommand } from '../../../lib/cli/convert-command.js';
import { convert } from '../../../lib/models/convert.js';
import { openWeights } from '../../../lib/models/open.js';
import { loadAddon } from '../../../lib/native/load.js';
import { packageRoot } from '../../../lib/package.js';
import { failure } from './llava/support.js';

describe('kuea convert', () => {
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-convert-'));
  });
  const { write } = process.stdout;
  afterEach(() => {
    process.stdout.write = write;
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  it('says that the embeddings are the same when they are', async () => {
    let said = '';
    process.stdout.write = (text: string | Uint8Array) => {
      said += String(text);
      return true;
    };
    const out = join(work, 'openai.safetensors');
    await convertCommand().parseAsync([join(packageRoot(), 'configs/demo/clip'), '--to', 'openai', '--out', out], { from: 'user' });
    process.stdout.write = write;
    expect(said).to.equal(`wrote ${out}; embeddings are the same\n`);
  });

  it('keeps the text tower what it was, its heads too, which no tensor shows', async () => {
    const [first, hf] = [join(packageRoot(), 'test/golden/clip-texts/open-clip-custom-text'), join(work, 'texts-hf')];
    const ids = Int32Array.from([38, 3, 39, 0, 38, 11, 4, 39]);
    const texts = async (ref: string) => {
      const encoder = await loadAddon().openTextEncoder({ ...(await openWeights(ref)).text!.plan(), precision: 'fp32', device: 'cpu' });
      const found = await encoder.encode(ids, 2, 4);
      await encoder.close();
      return found;
    };
    const expected = await texts(first);
    await convert(loadAddon(), first, 'hf', hf);
    expect(await texts(hf)).to.deep.equal(expected);
    for (const [layout, name] of [
      ['openai', 'texts.safetensors'],
      ['open_clip', 'texts-open-clip'],
    ] as const) {
      await convert(loadAddon(), hf, layout, join(work, name));
      expect(await texts(join(work, name)), layout).to.deep.equal(expected);
    }
  });

  it('refuses a file of a name that it could not open again, before it writes it', async () => {
    const out = join(work, 'visual');
    const error = await failure(convert(loadAddon(), join(packageRoot(), 'configs/demo/clip'), 'visual', out));
    expect(error.message).to.match(/expected a file that ends in \.safetensors for the layout visual, found .*visual/);
    expect(existsSync(out)).to.equal(false);
  });
});
