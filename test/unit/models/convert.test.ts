import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { convertCommand } from '../../../lib/cli/convert-command.js';
import { convert } from '../../../lib/models/convert.js';
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

  it('refuses a file of a name that it could not open again, before it writes it', async () => {
    const out = join(work, 'visual');
    const error = await failure(convert(loadAddon(), join(packageRoot(), 'configs/demo/clip'), 'visual', out));
    expect(error.message).to.match(/expected a file that ends in \.safetensors for the layout visual, found .*visual/);
    expect(existsSync(out)).to.equal(false);
  });
});
