import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { presetNames, readConfigFile, readRecipe } from '../../../lib/config/files.js';

describe('recipes', () => {
  let folder: string;
  before(() => (folder = mkdtempSync(join(tmpdir(), 'kuea-recipes-'))));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('have paths that start from their own folder when they begin with a dot, and from the working folder otherwise', async () => {
    const file = join(folder, 'mine.yaml');
    writeFileSync(file, 'student: ./clip\nteacher: ../dinov2\ndata: photos\nout: openai/clip\nbatch_size: 3\n');
    expect(await readRecipe(file)).to.deep.equal({
      student: join(folder, 'clip'),
      teacher: join(folder, '../dinov2'),
      data: 'photos',
      out: 'openai/clip',
      batchSize: 3,
    });
    // What a run has saved is as it was given.
    expect(await readConfigFile(file)).to.include({ student: './clip' });
  });

  it('are listed when what they name is there', () => {
    writeFileSync(join(folder, 'published.yaml'), 'student: openai/clip-vit-base-patch16\n');
    writeFileSync(join(folder, 'tuned-lora.yaml'), 'model: liuhaotian/llava-v1.5-7b\n');
    writeFileSync(join(folder, 'small.yaml'), 'student: ./small/clip\n');
    rmSync(join(folder, 'mine.yaml'), { force: true });
    expect(presetNames('align', folder)).to.deep.equal(['published']);
    mkdirSync(join(folder, 'small/clip'), { recursive: true });
    expect(presetNames('align', folder)).to.deep.equal(['published', 'small']);
    expect(presetNames('lora', folder)).to.deep.equal(['tuned-lora']);
  });
});
