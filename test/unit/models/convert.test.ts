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
  const { log } = console;
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-convert-'));
  });
  afterEach(() => (console.log = log));
  after(() => rmSync(work, { recursive: true, force: true }));

  it('says that the embeddings are the same when they are', async () => {
    const said: string[] = [];
    console.log = (text: string) => void said.push(text);
    const out = join(work, 'openai.safetensors');
    await convertCommand().parseAsync([join(packageRoot(), 'configs/demo/clip'), '--to', 'openai', '--out', out], { from: 'user' });
    expect(said).to.deep.equal([`wrote ${out}; embeddings are the same`]);
  });

  it('refuses a file of a name that it could not open again, before it writes it', async () => {
    const out = join(work, 'visual');
    const error = await failure(convert(loadAddon(), join(packageRoot(), 'configs/demo/clip'), 'visual', out));
    expect(error.message).to.match(/expected a file that ends in \.safetensors for the layout visual, found .*visual/);
    expect(existsSync(out)).to.equal(false);
  });
});
