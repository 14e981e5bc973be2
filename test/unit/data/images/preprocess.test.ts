import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';

import { expect } from 'chai';

import { preprocess } from '../../../../lib/data/images/preprocess.js';
import { failure, golden, goldenJson } from './support.js';

const input = (name: string) => golden('pixels', 'inputs', name);

describe('preprocess', () => {
  it('differs from torchvision and Pillow in 0 bytes', async () => {
    const { cases } = await goldenJson<{ cases: { file: string; crop224: string }[] }>('pixels', 'expected.json');
    const crops = gunzipSync(await readFile(golden('pixels', 'crops-64.bin.gz')));
    for (const [i, { file, crop224 }] of cases.entries()) {
      const small = new Uint8Array(3 * 64 * 64);
      await preprocess(input(file), { resize: 64, crop: 64, mode: 'exact' }, small);
      const expected = crops.subarray(i * small.length, (i + 1) * small.length);
      expect(small.filter((value, at) => value !== expected[at]).length, `${file}: differing bytes`).to.equal(0);
      const large = new Uint8Array(3 * 224 * 224);
      await preprocess(input(file), { resize: 224, crop: 224, mode: 'exact' }, large);
      expect(createHash('sha256').update(large).digest('hex'), file).to.equal(crop224);
    }
  });

  it('writes at the offset and nowhere else', async () => {
    const size = 3 * 64 * 64;
    const [alone, among] = [new Uint8Array(size), new Uint8Array(3 * size).fill(7)];
    await preprocess(input('jpeg-420.jpg'), { resize: 64, crop: 64, mode: 'exact' }, alone);
    await preprocess(input('jpeg-420.jpg'), { resize: 64, crop: 64, mode: 'exact' }, among, size);
    expect(among.subarray(size, 2 * size)).to.deep.equal(alone);
    expect(among.subarray(0, size).every((v) => v === 7) && among.subarray(2 * size).every((v) => v === 7)).to.equal(true);
  });

  it('is close in fast mode, and the same where sharp alone would be wrong', async () => {
    const both = async (file: string, resize: number, crop: number) => {
      const [exact, fast] = [new Uint8Array(3 * crop * crop), new Uint8Array(3 * crop * crop)];
      await preprocess(input(file), { resize, crop, mode: 'exact' }, exact);
      await preprocess(input(file), { resize, crop, mode: 'fast' }, fast);
      return exact.reduce((sum, value, i) => sum + Math.abs(value - fast[i]!), 0) / exact.length;
    };
    // libvips may sample a fraction of a pixel beside Pillow (reduced JPEGs, enlargements); a wrong window or channel gives 40 and more.
    for (const file of ['jpeg-420.jpg', 'jpeg-grey.jpg', 'jpeg-icc.jpg', 'png-rgb-transparent.png', 'webp-lossy.webp', 'jpeg-tall.jpg']) {
      expect(await both(file, 64, 64), file).to.be.below(12);
    }
    expect(await both('jpeg-420.jpg', 224, 224)).to.be.below(0.5);
    expect(await both('jpeg-420.jpg', 256, 224)).to.be.below(0.5);
    for (const file of ['jpeg-cmyk.jpg', 'jpeg-ycck.jpg', 'png-16bit-grey.png', 'gif-transparent.gif'])
      expect(await both(file, 64, 64), file).to.equal(0);
    expect(await both('jpeg-420.jpg', 50, 64)).to.equal(0);
  });

  it('rejects with undecodable_image in both modes', async () => {
    const bytes = await readFile(input('jpeg-420.jpg'));
    for (const mode of ['exact', 'fast'] as const) {
      const error = await failure(preprocess(bytes.subarray(0, 9000), { resize: 64, crop: 64, mode }, new Uint8Array(3 * 64 * 64)));
      expect(error.code).to.equal('undecodable_image');
    }
  });
});
