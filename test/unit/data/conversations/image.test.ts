import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';

import { expect } from 'chai';
import sharp from 'sharp';

import { defaultConcurrency } from '../../../../lib/data/concurrency.js';
import { prepareImage } from '../../../../lib/data/conversations/image.js';
import { pixelsInWork, withImage } from '../../../../lib/data/images/in-work.js';
import { failure, golden, goldenJson } from '../images/support.js';

describe('prepareImage', () => {
  it('equals Pillow and CLIPImageProcessor in every format, padded and cropped', async () => {
    const { files } = await goldenJson<{ files: { file: string; padded336: string; cropped224: string }[] }>('llava', 'images.json');
    const small = gunzipSync(await readFile(golden('llava', 'padded-28.bin.gz')));
    expect(files.length).to.be.above(40);
    const prepare = async (file: string, size: number, aspect: 'pad' | 'crop') => {
      const target = new Uint8Array(3 * size * size + 5);
      await prepareImage(golden('pixels', 'inputs', file), { size, aspect }, target, 5);
      return target.subarray(5);
    };
    const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    for (const [i, { file, padded336, cropped224 }] of files.entries()) {
      const bytes = 3 * 28 * 28;
      expect(await prepare(file, 28, 'pad'), file).to.deep.equal(new Uint8Array(small.subarray(i * bytes, (i + 1) * bytes)));
      expect(sha256(await prepare(file, 336, 'pad')), file).to.equal(padded336);
      expect(sha256(await prepare(file, 224, 'crop')), file).to.equal(cropped224);
    }
  });

  it('puts what is odd of the border at the bottom or the right', async () => {
    const black = (width: number, height: number) =>
      sharp({ create: { width, height, channels: 3, background: '#000' } })
        .png()
        .toBuffer();
    const red = async (width: number, height: number, size: number) => {
      const target = new Uint8Array(3 * size * size);
      await prepareImage(await black(width, height), { size, aspect: 'pad' }, target);
      return Array.from({ length: size }, (_, i) => (width < height ? target[i]! : target[i * size]!));
    };
    expect(await red(2, 5, 5)).to.deep.equal([122, 0, 0, 122, 122]);
    expect(await red(5, 2, 5)).to.deep.equal([122, 0, 0, 122, 122]);
  });

  it('pads large images slice by slice, all of them', async () => {
    const [width, side] = [1000, 1200];
    const image = await sharp({ create: { width, height: side, channels: 3, background: '#000' } })
      .png({ compressionLevel: 1 })
      .toBuffer();
    const target = new Uint8Array(3 * side * side);
    // At its own size the resize changes nothing.
    await prepareImage(image, { size: side, aspect: 'pad' }, target);
    for (const [plane, colour] of [122, 116, 104].entries())
      for (let i = 0; i < side * side; i++) {
        const inside = i % side >= 100 && i % side < 1100;
        if (target[plane * side * side + i] !== (inside ? 0 : colour)) expect.fail(`plane ${plane}, pixel ${i} is ${target[i]}`);
      }
  });

  it('counts a strip as large as its square', async () => {
    const strip = await sharp({ create: { width: 13000, height: 1, channels: 3, background: '#123' } })
      .png()
      .toBuffer();
    let done = false;
    const squared = prepareImage(strip, { size: 28, aspect: 'pad' }, new Uint8Array(3 * 28 * 28)).then(() => (done = true));
    // There is room for this and the strip as it is, but not for this and its square.
    const room = pixelsInWork(defaultConcurrency()) - 100 * 13000;
    await withImage(
      strip,
      async () => {
        await new Promise((resolve) => setImmediate(resolve));
        expect(done).to.equal(true);
      },
      undefined,
      () => room,
    );
    await squared;
  }).timeout(60_000);

  it('refuses a strip whose square would not fit', async () => {
    const strip = await sharp({ create: { width: 20000, height: 1, channels: 3, background: '#123' } })
      .png()
      .toBuffer();
    const error = await failure(prepareImage(strip, { size: 28, aspect: 'pad' }, new Uint8Array(3 * 28 * 28)));
    expect(error.code).to.equal('undecodable_image');
    expect(error.message).to.include('20000 x 1');
  });
});
