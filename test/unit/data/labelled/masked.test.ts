import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import sharp from 'sharp';

import { decode } from '../../../../lib/data/images/decode.js';
import { openMasks } from '../../../../lib/data/labelled/masked.js';
import { failure, goldenJson, inFolder, write } from '../images/support.js';
import { labelled, names, withCopy } from './support.js';

interface Expected {
  name: string;
  size: number;
  patch: number;
  union: number[][];
  whole: number[];
}

const folders = (root: string) => ({ images: join(root, 'images'), masks: join(root, 'masks') });

/** The classes of each row of labels. */
function classesOf(labels: Uint8Array, rowBytes: number): number[][] {
  return Array.from({ length: labels.length / rowBytes }, (_, row) =>
    Array.from({ length: 8 * rowBytes }, (_, c) => c).filter((c) => labels[row * rowBytes + (c >> 3)]! & (1 << (c & 7))),
  );
}

const grey = (pixels: number[], width: number) =>
  sharp(Buffer.from(pixels), { raw: { width, height: pixels.length / width, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toBuffer();

describe('images with masks', () => {
  let expected: Expected[];
  before(async () => {
    expected = await goldenJson<Expected[]>('labelled', 'masks.json');
  });

  it('have the labels of their patches, and of the whole, as in torch', async () => {
    const seen = new Set<number>();
    for (const { name, size, patch, union, whole } of expected) {
      const local = await openMasks(folders(labelled('masks')), { size, patch, labels: 'union' });
      const i = names(local.images).indexOf(`${name}.png`);
      expect(classesOf(await local.labels(i), local.rowBytes), `${name} ${size}`).to.deep.equal(union);
      expect(local.rows).to.equal(union.length);
      const global = await openMasks(folders(labelled('masks')), { size, patch, labels: 'global-union' });
      expect(classesOf(await global.labels(i), global.rowBytes)).to.deep.equal([whole]);
      for (const c of whole) seen.add(c);
    }
    expect([...seen]).to.include.members([0, 1, 182]);
  });

  it("are Pillow's centre squares, resized bilinearly, to the last bit", async () => {
    for (const { name, size, patch } of expected) {
      const { images } = await openMasks(folders(labelled('masks')), { size, patch, labels: 'union' });
      const target = new Uint8Array(3 * size * size + 7);
      await images.copy(names(images).indexOf(`${name}.png`), target, 7);
      const { data, channels } = await decode(labelled('masks', 'expected', `${size}-${name}.png`));
      const planes = Array.from(
        { length: 3 * size * size },
        (_, i) => data[(i % (size * size)) * channels + Math.floor(i / (size * size))],
      );
      expect(target.subarray(7), `${name} ${size}`).to.deep.equal(Uint8Array.from(planes as number[]));
      expect(target.subarray(0, 7)).to.deep.equal(new Uint8Array(7));
    }
  });

  it('may be grey, and have a fingerprint of both and of the rule', () =>
    inFolder(async (folder) => {
      await write(folder, { 'images/val/a.png': await grey([9, 7, 5, 3], 2), 'masks/val/a.png': await grey([255, 255, 255, 4], 2) });
      const open = (labels: 'union' | 'global-union') => openMasks(folders(folder), { size: 4, patch: 2, labels, split: 'val' });
      const set = await open('union');
      const pixels = new Uint8Array(48);
      await set.images.copy(0, pixels, 0);
      expect(pixels.subarray(0, 16)).to.deep.equal(pixels.subarray(32));
      expect([pixels[0], pixels[15]]).to.deep.equal([9, 3]);
      expect(classesOf(await set.labels(0), set.rowBytes)).to.deep.equal([[0], [0], [0], [5]]);
      const first = await set.fingerprint();
      expect(await (await open('global-union')).fingerprint()).to.not.equal(first);
      await write(folder, { 'masks/val/a.png': Buffer.concat([await grey([255, 255, 255, 4], 2), Buffer.from('junk')]) });
      expect(await (await open('union')).fingerprint()).to.not.equal(first);
      expect(await failure(openMasks(folders(folder), { size: 4, patch: 2, labels: 'union', split: 'train' }))).to.include({
        code: 'split_not_found',
      });
    }));

  it('that do not fit are refused', () =>
    withCopy('masks', async (folder) => {
      const open = (size = 56) => openMasks(folders(folder), { size, patch: 14, labels: 'union' });
      const wrong = async (mask: Buffer) => {
        await write(folder, { 'masks/square.png': mask });
        const set = await open();
        return failure(set.labels(names(set.images).indexOf('square.png')));
      };
      const sides = await wrong(await grey(new Array(64 * 32).fill(1), 64));
      expect([sides.code, sides.message]).to.deep.equal([
        'bad_labels',
        "square.png: expected a mask of the image's 64 x 64 pixels, found 64 x 32",
      ]);
      expect((await wrong(await grey(new Array(64 * 64).fill(182), 64))).message).to.include('found the pixel 182');
      const colour = sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } });
      expect((await wrong(await colour.png().toBuffer())).message).to.include('8-bit grey');
      expect(await wrong(Buffer.from('none'))).to.include({ code: 'undecodable_image' });
      expect(await wrong((await grey(new Array(64 * 64).fill(1), 64)).subarray(0, 60))).to.include({ code: 'undecodable_image' });
      await rm(join(folder, 'masks', 'high.png'));
      const missing = await failure(open());
      expect([missing.code, missing.message]).to.satisfy(
        ([code, message]: string[]) => code === 'missing_images' && /for each of 4 images .* found 1 .* high\.png/.test(message!),
      );
      expect(await failure(open(57))).to.include({ code: 'bad_argument' });
      expect(await failure(openMasks({ images: folder, masks: join(folder, 'none') }, { size: 2, patch: 1, labels: 'union' }))).to.include({
        code: 'data_not_found',
      });
      await cp(join(folder, 'masks'), join(folder, 'none'), { recursive: true });
    }));
});
