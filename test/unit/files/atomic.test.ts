import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import fs, { mkdir, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { asWriteError, clearUnfinished, makeFolder, removeWhole, writeFileAtomically } from '../../../lib/files/atomic.js';
import { replaceWhole, writeWhole } from '../../../lib/files/output.js';

describe('writing whole', () => {
  let work: string;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-whole-'));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const path = (...names: string[]) => join(work, ...names);
  const folderOf = (content: string) => async (made: string) => {
    await mkdir(made);
    await writeFile(join(made, 'file'), content);
  };
  const thrown = (promise: Promise<unknown>) =>
    promise.then(
      () => expect.fail('it did not throw'),
      (error: unknown) => error as { code: string; message: string },
    );

  it('replaces a file, a folder, and the one by the other', async () => {
    await replaceWhole(path('out'), folderOf('first'));
    await replaceWhole(path('out'), folderOf('second'));
    expect(readFileSync(path('out', 'file'), 'utf8')).to.equal('second');
    await writeFileAtomically(path('out'), 'text');
    expect(readFileSync(path('out'), 'utf8')).to.equal('text');
    await replaceWhole(path('out'), folderOf('third'));
    expect(readFileSync(path('out', 'file'), 'utf8')).to.equal('third');
    expect(readdirSync(work)).to.deep.equal(['out']);
  });

  it('keeps what was there until the new one is whole, and when it does not come to be', async () => {
    await replaceWhole(path('out'), folderOf('good'));
    const error = await thrown(
      replaceWhole(path('out'), async (made) => {
        await folderOf('half')(made);
        expect(readFileSync(path('out', 'file'), 'utf8')).to.equal('good');
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      }),
    );
    expect(error.code).to.equal('disk_full');
    expect(readFileSync(path('out', 'file'), 'utf8')).to.equal('good');
    expect(readdirSync(work)).to.deep.equal(['out']);
  });

  it('refuses what is there where it shall not replace it', async () => {
    await writeWhole(path('out'), folderOf('first'));
    expect((await thrown(writeWhole(path('out'), folderOf('second')))).code).to.equal('exists');
    expect(readFileSync(path('out', 'file'), 'utf8')).to.equal('first');
  });

  it('removes what a killed writer left, and nothing else', async () => {
    mkdirSync(path('.hf.partial-AbC123/hf'), { recursive: true });
    mkdirSync(path('.step-000020.partial'));
    writeFileSync(path('latest.partial'), '');
    for (const name of ['.git', 'export', '.hf-server', 'partial']) mkdirSync(path(name));
    await clearUnfinished(work);
    expect(readdirSync(work).sort()).to.deep.equal(['.git', '.hf-server', 'export', 'partial']);
  });

  it('finishes a replacement that was killed between its two renames', async () => {
    mkdirSync(path('.hf.partial-AbC123/hf'), { recursive: true });
    mkdirSync(path('.hf.partial-AbC123/hf.old'));
    writeFileSync(path('.hf.partial-AbC123/hf/file'), 'new');
    await clearUnfinished(work);
    expect(readdirSync(work)).to.deep.equal(['hf']);
    expect(readFileSync(path('hf/file'), 'utf8')).to.equal('new');
  });

  it('takes back the first of its two renames when the second fails; if that fails too, both are found later', async () => {
    await replaceWhole(path('out'), folderOf('good'));
    const { rename } = fs;
    for (const failures of [1, 2]) {
      let calls = 0;
      fs.rename = (from, to) => {
        calls++;
        return calls >= 2 && calls < 2 + failures ? Promise.reject(new Error('busy')) : rename(from, to);
      };
      syncBuiltinESMExports();
      try {
        expect((await thrown(replaceWhole(path('out'), folderOf('new')))).message).to.equal('busy');
      } finally {
        fs.rename = rename;
        syncBuiltinESMExports();
      }
      if (failures === 1) expect(readFileSync(path('out', 'file'), 'utf8')).to.equal('good');
    }
    await clearUnfinished(work);
    expect(readFileSync(path('out', 'file'), 'utf8')).to.equal('new');
    expect(readdirSync(work)).to.deep.equal(['out']);
  });

  it('removes a folder', async () => {
    await writeWhole(path('out'), folderOf('first'));
    await removeWhole(path('out'));
    expect(readdirSync(work)).to.deep.equal([]);
  });

  it('makes folders, and says where none can be', async () => {
    expect(await makeFolder(path('a/b/c'))).to.equal(true);
    expect(await makeFolder(path('a/b/c'))).to.equal(false);
    writeFileSync(path('file'), '');
    expect((await thrown(makeFolder(path('file')))).code).to.equal('bad_out');
    expect((await thrown(makeFolder(path('file/below')))).code).to.equal('bad_out');
    if (existsSync('/proc/self')) expect((await thrown(makeFolder('/proc/none/below'))).code).to.equal('bad_out');
  });

  it('says why nothing can be written', () => {
    const coded = (code: string) => asWriteError(Object.assign(new Error(code), { code }), 'out') as { code: string };
    expect(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EIO'].map((code) => coded(code).code)).to.deep.equal([
      'disk_full',
      'disk_full',
      'unwritable_file',
      'unwritable_file',
      'unwritable_file',
    ]);
  });
});
