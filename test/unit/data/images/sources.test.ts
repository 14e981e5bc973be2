import { copyFile, mkdir, readFile, rename, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { expect } from 'chai';
import { create } from 'tar';

import type { EncodedSource, PixelSource, Source } from '../../../../lib/data/images/source.js';
import { openSource } from '../../../../lib/data/images/sources.js';
import { indexTar } from '../../../../lib/data/images/tar-index.js';
import { failure, golden, goldenJson, inFolder, write } from './support.js';

const names = (source: Source) => Array.from({ length: source.length }, (_, i) => source.name(i));
const text = async (source: Source, i: number) => Buffer.from(await (source as EncodedSource).read(i)).toString();
const empty = (files: readonly string[]) => Object.fromEntries(files.map((name) => [name, '']));

async function makeTar(folder: string, name: string, files: Record<string, string>): Promise<void> {
  const content = join(folder, `content of ${name}`);
  await write(content, files);
  await create({ file: join(folder, name), cwd: content, portable: true }, Object.keys(files));
}

describe('folders', () => {
  it("have the order of torchvision's ImageFolder", async () => {
    const { files, expected } = await goldenJson<{ files: string[]; expected: string[] }>('sources', 'image-folder.json');
    await inFolder(async (folder) => {
      await write(folder, empty(files));
      expect(names(await openSource(folder))).to.deep.equal(expected);
    });
  });

  it('may be flat, and are read', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'b.jpg': 'bee', 'a.PNG': 'ay', 'c.txt': 'no', '.hidden.jpg': 'no', '._a.jpg': 'no', '.git/x.jpg': 'no' });
      const source = await openSource(folder);
      expect(source.kind).to.equal('folder');
      expect(names(source)).to.deep.equal(['a.PNG', 'b.jpg']);
      expect([await text(source, 0), await text(source, 1)]).to.deep.equal(['ay', 'bee']);
    });
  });

  it('may be reached through symbolic links, which may lead back', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'elsewhere/one.jpg': '1', 'data/real/two.jpg': '2' });
      await symlink(join(folder, 'elsewhere'), join(folder, 'data', 'linked'));
      await symlink(join(folder, 'elsewhere', 'one.jpg'), join(folder, 'data', 'real', 'alias.jpg'));
      await symlink(join(folder, 'data'), join(folder, 'data', 'real', 'loop'));
      await symlink(join(folder, 'nowhere'), join(folder, 'data', 'real', 'dangling'));
      const source = await openSource(join(folder, 'data'));
      expect(names(source)).to.deep.equal(['linked/one.jpg', 'real/alias.jpg', 'real/two.jpg']);
      expect(await text(source, 1)).to.equal('1');
    });
  });

  it('that links multiply are refused', async () => {
    await inFolder(async (folder) => {
      // Two ways from each of eight folders to the next: 256 to the last.
      for (let i = 0; i <= 8; i++) {
        await write(folder, { [`${i}/x.jpg`]: '' });
        if (i > 0) for (const name of ['a', 'b']) await symlink(join(folder, `${i}`), join(folder, `${i - 1}`, name));
      }
      expect(await failure(openSource(join(folder, '0')))).to.include({ code: 'too_many_links' });
      expect((await openSource(join(folder, '5'))).length).to.equal(1 + 2 + 4 + 8);
    });
  });

  it('have one stat an image however often their fingerprint is asked for', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'a.jpg': 'ay', 'b.jpg': 'bee' });
      const source = await openSource(folder);
      const before = await source.fingerprint();
      await write(folder, { 'a.jpg': 'longer' });
      expect(await source.fingerprint()).to.equal(before);
      expect(await (await openSource(folder)).fingerprint()).to.not.equal(before);
    });
  });

  it('may hold names that are not UTF-8', async () => {
    await inFolder(async (folder) => {
      await mkdir(join(folder, 'c'));
      await writeFile(Buffer.concat([Buffer.from(join(folder, 'c', '/')), Buffer.from([0xe9, 0x2e]), Buffer.from('jpg')]), 'latin');
      const source = await openSource(folder);
      expect(source.length).to.equal(1);
      expect(await text(source, 0)).to.equal('latin');
    });
  });

  it('have a fingerprint of names and sizes', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'c/a.jpg': 'one', 'c/b.jpg': 'two' });
      const fingerprint = async () => (await openSource(folder)).fingerprint();
      const first = await fingerprint();
      expect(first).to.match(/^[0-9a-f]{64}$/);
      await write(folder, { 'c/a.jpg': 'eno' });
      expect(await fingerprint()).to.equal(first);
      await write(folder, { 'c/a.jpg': 'longer' });
      expect(await fingerprint()).to.not.equal(first);
      await write(folder, { 'c/a.jpg': 'one' });
      await rename(join(folder, 'c/b.jpg'), join(folder, 'c/d.jpg'));
      expect(await fingerprint()).to.not.equal(first);
    });
  });

  it('that are missing, empty, without images, or mixed with shards are errors that say so', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'texts/a.txt': '', 'texts/sub/b.gif': '', 'mixed/a.jpg': '', 'mixed/0.tar': '', 'file.csv': '' });
      await mkdir(join(folder, 'empty'));
      const missing = await failure(openSource(join(folder, 'missing')));
      expect(missing.code).to.equal('data_not_found');
      expect(missing.message).to.include(`found nothing at ${join(folder, 'missing')}`);
      for (const name of ['empty', 'texts']) {
        const error = await failure(openSource(join(folder, name)));
        expect(error.code).to.equal('data_empty');
        expect(error.message).to.include('extensions jpg, jpeg, png');
      }
      expect((await failure(openSource(join(folder, 'mixed')))).code).to.equal('data_format');
      expect((await failure(openSource(join(folder, 'file.csv')))).code).to.equal('data_format');
    });
  });

  it('report a file that went away as undecodable_image', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'a.jpg': '1' });
      const source = (await openSource(folder)) as EncodedSource;
      await rename(join(folder, 'a.jpg'), join(folder, 'gone'));
      expect((await failure(source.read(0))).code).to.equal('undecodable_image');
    });
  });
});

describe('tar shards', () => {
  it("are indexed as Python's tarfile does: GNU, pax and ustar names", async () => {
    const tars = await goldenJson<Record<string, { path: string; offset: number; size: number }[]>>('sources', 'tars.json');
    for (const [format, members] of Object.entries(tars))
      expect(await indexTar(golden('sources', `${format}.tar`)), format).to.deep.equal(members);
  });

  it('give the image of each sample', async () => {
    const source = (await openSource(golden('sources', 'gnu.tar'))) as EncodedSource;
    expect(names(source).map((name) => name.slice(0, 24))).to.deep.equal([
      'gnu.tar/000.jpg',
      'gnu.tar/001.PNG',
      'gnu.tar/folder/002.jpg',
      'gnu.tar/folder/long-long',
      'gnu.tar/xxxxxxxxxxxxxxxx',
      'gnu.tar/naïve.jpg',
    ]);
    // Member i of the golden tars is filled with the letter A + i.
    expect(await text(source, 1)).to.equal('C'.repeat(513));
    expect(await text(source, 2)).to.equal('F'.repeat(512));
  });

  it('are found by folder, brace and glob, in the order of their numbers', async () => {
    await inFolder(async (folder) => {
      for (const i of [0, 1, 2, 10]) await makeTar(folder, `${i}.tar`, { [`s${i}.jpg`]: `image ${i}`, [`s${i}.cls`]: '3' });
      const expected = ['0.tar/s0.jpg', '1.tar/s1.jpg', '2.tar/s2.jpg', '10.tar/s10.jpg'];
      await mkdir(join(folder, 'shards'));
      for (const i of [0, 1, 2, 10]) await rename(join(folder, `${i}.tar`), join(folder, 'shards', `${i}.tar`));
      const shards = join(folder, 'shards');
      for (const ref of [shards, `${shards}/*.tar`, `${shards}/{0..2}.tar`, `${shards}/{2,10}.tar`, `${shards}/{0,1}*.tar`]) {
        const list = names(await openSource(ref));
        if (!ref.includes('{')) expect(list).to.deep.equal(expected);
        else if (ref.includes('..')) expect(list).to.deep.equal(expected.slice(0, 3));
        else if (ref.includes('2,10')) expect(list).to.deep.equal(expected.slice(2));
        else expect(list).to.deep.equal(['0.tar/s0.jpg', '1.tar/s1.jpg', '10.tar/s10.jpg']);
      }
      expect(await text(await openSource(`${shards}/{0..2}.tar`), 1)).to.equal('image 1');
      const missing = await failure(openSource(`${shards}/{0..4}.tar`));
      expect(missing.code).to.equal('data_not_found');
      expect(missing.message).to.include('2 missing').and.include('3.tar');
      expect((await failure(openSource(`${shards}/x*.tar`))).code).to.equal('data_not_found');
      const all = await openSource(shards);
      expect(await all.fingerprint()).to.equal(await (await openSource(`${shards}/*.tar`)).fingerprint());
      expect(await all.fingerprint()).to.not.equal(await (await openSource(`${shards}/{0..2}.tar`)).fingerprint());
    });
  });

  it('expand zero-padded braces', async () => {
    await inFolder(async (folder) => {
      for (const i of ['000008', '000009', '000010']) await makeTar(folder, `${i}.tar`, { [`${i}.jpg`]: i });
      expect(names(await openSource(`${folder}/{000008..000010}.tar`))).to.have.length(3);
    });
  });

  it('with a name or a pax header of gigabytes are errors', async () => {
    await inFolder(async (folder) => {
      for (const [i, type] of ['x', 'g', 'L'].entries()) {
        const header = Buffer.alloc(512);
        header.write('x', 0);
        header.write(`${(2 ** 31 + 512).toString(8).padStart(11, '0')} `, 124);
        header.write(type, 156);
        header.write('ustar\x0000', 257);
        header.fill(' ', 148, 156);
        header.write(
          `${header
            .reduce((sum, byte) => sum + byte, 0)
            .toString(8)
            .padStart(6, '0')}\0 `,
          148,
        );
        const shard = join(folder, `${i}.tar`);
        await writeFile(shard, header);
        // Sparse: it takes no room on the disk.
        await truncate(shard, 3 * 2 ** 30);
        const { code, message } = await failure(openSource(shard));
        expect(code).to.equal('bad_shard');
        expect(message).to.include('at most 1048576 bytes');
      }
    });
  });

  it('that are damaged are errors with the shard and the offset', async () => {
    await inFolder(async (folder) => {
      const shard = join(folder, 'shard.tar');
      const tar = await readFile(golden('sources', 'gnu.tar'));
      const { gnu } = await goldenJson<Record<string, { path: string; offset: number; size: number }[]>>('sources', 'tars.json');
      const last = gnu![gnu!.length - 1]!;

      await writeFile(shard, tar.subarray(0, last.offset + last.size - 1));
      const cut = await failure(openSource(shard));
      expect(cut.code).to.equal('truncated_shard');
      expect(cut.message)
        .to.include(shard)
        .and.include(`offset ${last.offset - 512}`)
        .and.include(last.path);
      await truncate(shard, last.offset - 100);
      expect((await failure(openSource(shard))).code).to.equal('truncated_shard');
      // Without the closing blocks, but whole.
      await writeFile(shard, tar.subarray(0, gnu![1]!.offset - 512));
      expect(names(await openSource(shard))).to.deep.equal(['shard.tar/000.jpg']);

      const damaged = Buffer.from(tar);
      damaged.fill(0xaa, gnu![3]!.offset - 512, gnu![3]!.offset);
      await writeFile(shard, damaged);
      const bad = await failure(openSource(shard));
      expect(bad.code).to.equal('bad_shard');
      expect(bad.message).to.include(`offset ${gnu![3]!.offset - 512}`);

      await writeFile(join(folder, 'shard.tar.gz'), gzipSync(tar));
      for (const name of ['shard.tar.gz', 'renamed.tar']) {
        if (name === 'renamed.tar') await copyFile(join(folder, 'shard.tar.gz'), join(folder, name));
        expect((await failure(openSource(join(folder, name)))).code).to.equal('gzip_shard');
      }

      await writeFile(shard, '');
      expect((await failure(openSource(shard))).code).to.equal('data_empty');
      await makeTar(folder, 'twice.tar', { 'a.jpg': '1', 'a.JPG': '2' });
      const twice = await failure(openSource(join(folder, 'twice.tar')));
      expect(twice.code).to.equal('bad_shard');
      expect(twice.message).to.include('two for a');
    });
  });
});

describe('pixel files', () => {
  const file = (dtype: string, shape: number[], name = 'pixels') => {
    const bytes = shape.reduce((product, side) => product * side, dtype === 'F32' ? 4 : 1);
    const header = Buffer.from(JSON.stringify({ [name]: { dtype, shape, data_offsets: [0, bytes] } }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header, Buffer.from(Array.from({ length: bytes }, (_, i) => i & 255))]);
  };

  it('are taken as they are', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'batches.safetensors': file('U8', [5, 3, 2, 2]) });
      const source = (await openSource(join(folder, 'batches.safetensors'))) as PixelSource;
      expect([source.kind, source.length, source.size, source.name(3)]).to.deep.equal(['pixels', 5, 2, 'pixels[3]']);
      const target = new Uint8Array(20);
      await source.copy(3, target, 4);
      expect([...target]).to.deep.equal([0, 0, 0, 0, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 0, 0, 0, 0]);
      const fingerprint = await source.fingerprint();
      await source.close();
      await write(folder, { 'batches.safetensors': file('U8', [4, 3, 2, 2]) });
      const other = await openSource(join(folder, 'batches.safetensors'));
      expect(await other.fingerprint()).to.not.equal(fingerprint);
      await other.close();
    });
  });

  it('of another kind are errors', async () => {
    await inFolder(async (folder) => {
      const code = async (content: Buffer) => {
        await write(folder, { 'x.safetensors': content });
        return (await failure(openSource(join(folder, 'x.safetensors')))).code;
      };
      expect(await code(file('F32', [5, 3, 2, 2]))).to.equal('data_format');
      expect(await code(file('U8', [5, 3, 2, 3]))).to.equal('data_format');
      expect(await code(file('U8', [5, 2, 2, 3]))).to.equal('data_format');
      expect(await code(file('U8', [60]))).to.equal('data_format');
      expect(await code(file('U8', [5, 3, 2, 2], 'images'))).to.equal('data_format');
      expect(await code(file('U8', [0, 3, 2, 2]))).to.equal('data_empty');
      expect(await code(file('U8', [5, 3, 2, 2]).subarray(0, 90))).to.equal('bad_safetensors');
    });
  });
});
