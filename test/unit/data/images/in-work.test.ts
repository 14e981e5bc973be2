import { expect } from 'chai';
import sharp from 'sharp';

import { defaultConcurrency } from '../../../../lib/data/concurrency.js';
import { prepareImage } from '../../../../lib/data/conversations/image.js';
import { pixelsInWork, withImage } from '../../../../lib/data/images/in-work.js';
import { preprocess } from '../../../../lib/data/images/preprocess.js';
import { failure, golden } from './support.js';

/** What the header of a PNG of these sides says; nothing follows it. */
function pngOf(width: number, height: number): Buffer {
  const bytes = Buffer.alloc(33);
  bytes.write('\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR', 'latin1');
  bytes.writeUInt32BE(width, 16);
  bytes.writeUInt32BE(height, 20);
  bytes.set([8, 2], 24);
  return bytes;
}

/** The most of `images` that were in work at a time. */
async function mostAtOnce(images: readonly Buffer[]): Promise<number> {
  let [now, most] = [0, 0];
  const work = async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 2));
    now--;
  };
  await Promise.all(images.map((image) => withImage(image, work)));
  return most;
}

describe('images in work', () => {
  const side = 13000;
  /** How many images of that side there is room for: one, but on machines of many cores. */
  const fit = Math.floor(pixelsInWork(defaultConcurrency()) / side ** 2);

  it('are bounded over all callers: by their pixels, and by what the pool can use', async () => {
    expect(await mostAtOnce(Array<Buffer>(fit + 4).fill(pngOf(side, side)))).to.equal(fit);
    expect(await mostAtOnce(Array<Buffer>(2 * defaultConcurrency()).fill(pngOf(100, 100)))).to.equal(defaultConcurrency());
  });

  it('count as large as their headers say, in every format', async () => {
    const small = sharp({ create: { width: 20, height: 20, channels: 3, background: '#123' } });
    const jpeg = await small.jpeg().toBuffer();
    const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]));
    for (const at of [frame + 5, frame + 7]) jpeg.writeUInt16BE(side, at);
    const [webp, gif] = [await small.webp().toBuffer(), await small.gif().toBuffer()];
    for (const at of [26, 28]) webp.writeUInt16LE(side, at);
    const descriptor = gif.indexOf(Buffer.from([0x2c, 0, 0, 0, 0, 20, 0]));
    for (const at of [descriptor + 5, descriptor + 7]) gif.writeUInt16LE(side, at);
    const tiff = await small.tiff().toBuffer();
    for (const tag of [256, 257]) tiff.writeUInt16LE(side, tiff.indexOf(Buffer.from([tag & 255, 1, 3, 0])) + 8);
    for (const [format, image] of Object.entries({ jpeg, webp, gif, tiff }))
      expect(await mostAtOnce(Array<Buffer>(fit + 1).fill(image)), format).to.equal(fit);
  });

  it('of more pixels than the caller wants are refused before they are decoded', async () => {
    const target = new Uint8Array(3 * 28 * 28);
    const geometry = { resize: 28, crop: 28, mode: 'exact' as const };
    const exact = sharp({ create: { width: 40, height: 30, channels: 3, background: '#123' } });
    const image = await exact.png().toBuffer();
    for (const refused of [
      preprocess(image, geometry, target, 0, 1199),
      preprocess(image, { ...geometry, mode: 'fast' }, target, 0, 1199),
      prepareImage(image, { size: 28, aspect: 'crop' }, target, 0, 1199),
    ]) {
      const error = await failure(refused);
      expect(error.code).to.equal('undecodable_image');
      expect(error.message).to.include('found one of 40 x 30 pixels, more than 1199');
    }
    await preprocess(image, geometry, target, 0, 1200);
    await prepareImage(image, { size: 28, aspect: 'crop' }, target, 0, 1200);
  });

  it('are read from files, too', async () => {
    const { length } = await withImage(golden('pixels', 'inputs', 'jpeg-rgb.jpg'), async (bytes) => bytes);
    expect(length).to.be.above(0);
  });
});
