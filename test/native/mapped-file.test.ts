import { appendFileSync, cpSync, mkdtempSync, renameSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { openLlava } from '../../lib/models/llava/open.js';
import { loadAddon } from '../../lib/native/load.js';
import { folder, llavaSpec, Trainer } from './llava-support.js';

/** The frozen weights of a LLaVA that are kept as its files have them are these files, mapped for as long as it is open. */
describe('a file that is mapped', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-mapped-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  async function copy(name: string): Promise<{ trainer: Trainer; file: string }> {
    const model = join(work, name);
    cpSync(join(folder, 'model'), model, { recursive: true });
    const { weights } = (await openLlava(model)).model;
    const file = weights.find(({ parameter }) => parameter === 'model.embed_tokens.weight')!.source.file;
    return { trainer: await Trainer.open({}, { ...(await llavaSpec()), weights, basePrecision: 'bf16', precision: 'bf16' }), file };
  }

  it('is named when it is written in place, and not when another takes its path', async () => {
    const { changedFiles } = loadAddon();
    const { trainer, file } = await copy('changed');
    expect(changedFiles()).to.deep.equal([]);
    cpSync(file, `${file}.new`);
    utimesSync(`${file}.new`, 1, 1);
    renameSync(`${file}.new`, file);
    expect(changedFiles()).to.deep.equal([]);
    await trainer.close();

    const other = await copy('written');
    utimesSync(other.file, 1, 1);
    expect(changedFiles()).to.deep.equal([other.file]);
    await other.trainer.close();
    expect(changedFiles()).to.deep.equal([]);

    const longer = await copy('longer');
    appendFileSync(longer.file, 'more');
    expect(changedFiles()).to.deep.equal([longer.file]);
    await longer.trainer.close();
  });
});
