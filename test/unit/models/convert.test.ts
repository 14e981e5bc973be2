import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { convertCommand } from '../../../lib/cli/convert-command.js';
import { packageRoot } from '../../../lib/package.js';

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
});
