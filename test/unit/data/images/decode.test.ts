import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { crc32, deflateSync } from 'node:zlib';

import { expect } from 'chai';
import sharp from 'sharp';

import { decode, type Pixels } from '../../../../lib/data/images/decode.js';
import { failure, golden, goldenJson, inFolder, write } from './support.js';

const input = (name: string) => golden('pixels', 'inputs', name);

/** uint8 [height, width, 3]. */
function rgb({ data, channels }: Pixels): Uint8Array {
  if (channels === 3) return data;
  const result = new Uint8Array(3 * data.length);
  data.forEach((value, i) => result.fill(value, 3 * i, 3 * i + 3));
  return result;
}

/** A PNG of these chunks. */
function png(chunks: Record<string, Buffer>): Buffer {
  const parts = Object.entries(chunks).map(([name, data]) => {
    const chunk = Buffer.alloc(data.length + 12);
    chunk.writeUInt32BE(data.length, 0);
    chunk.write(name, 4, 'latin1');
    chunk.set(data, 8);
    chunk.writeUInt32BE(crc32(chunk.subarray(4, data.length + 8)), data.length + 8);
    return chunk;
  });
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...parts]);
}

describe('decode', () => {
  it('gives the bytes of Pillow\'s convert("RGB") for every golden file, whatever its mode, by path and from memory', async () => {
    const { cases } = await goldenJson<{ cases: { file: string; width: number; height: number; rgb: string }[] }>(
      'pixels',
      'expected.json',
    );
    expect(cases.length).to.be.at.least(40);
    for (const { file, width, height, rgb: sha256 } of cases) {
      for (const image of [input(file), await readFile(input(file))]) {
        const pixels = await decode(image);
        expect([pixels.width, pixels.height], file).to.deep.equal([width, height]);
        expect(createHash('sha256').update(rgb(pixels)).digest('hex'), file).to.equal(sha256);
      }
    }
  });

  it('refuses truncated files of every format', async () => {
    for (const file of [
      'jpeg-420.jpg',
      'jpeg-progressive.jpg',
      'jpeg-grey.jpg',
      'jpeg-cmyk.jpg',
      'png-rgba.png',
      'png-16bit-grey.png',
      'webp-lossy.webp',
      'gif.gif',
      'tiff-grey.tif',
    ]) {
      const bytes = await readFile(input(file));
      for (const length of [5, 60, bytes.length >> 1, bytes.length - 40]) {
        const error = await failure(decode(bytes.subarray(0, length)));
        expect(error.code, `${file} ${length}`).to.equal('undecodable_image');
      }
    }
  });

  it('says what it found instead of an image', async () => {
    await inFolder(async (folder) => {
      await write(folder, {
        'text.jpg': 'a text file\n',
        'empty.jpg': '',
        'bitmap.bmp': 'BM\0\0',
        'drawing.jpg': '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
      });
      await mkdir(join(folder, 'folder.jpg'));
      const message = async (name: string) => {
        const { code, message: text } = await failure(decode(join(folder, name)));
        expect(code).to.equal('undecodable_image');
        return text;
      };
      expect(await message('text.jpg')).to.include('starts with "a text file');
      expect(await message('drawing.jpg')).to.include('starts with "<svg xmlns=');
      expect(await message('empty.jpg')).to.include('an empty file');
      expect(await message('bitmap.bmp')).to.include('a BMP');
      expect(await message('folder.jpg')).to.include('a folder');
      expect(await message('missing.jpg')).to.include('no such file');
      expect((await failure(decode(new Uint8Array(0)))).message).to.include('an empty file');
    });
  });

  it('converts large images slice by slice, all of them', async () => {
    const [width, height] = [1500, 1000];
    const value = (i: number) => i % 400;
    const rows = Buffer.alloc(height * (1 + 2 * width));
    for (let i = 0; i < width * height; i++) rows.writeUInt16BE(value(i), 2 * i + Math.floor(i / width) + 1);
    const header = Buffer.alloc(13);
    header.writeUInt32BE(width, 0);
    header.writeUInt32BE(height, 4);
    header.set([16, 0], 8);
    const grey = await decode(png({ IHDR: header, IDAT: deflateSync(rows, { level: 1 }), IEND: Buffer.alloc(0) }));
    expect(grey.data).to.have.length(width * height);
    grey.data.forEach((found, i) => found === Math.min(value(i), 255) || expect.fail(`pixel ${i} is ${found}`));

    const ink = await sharp({ create: { width, height, channels: 3, background: '#456' } })
      .toColourspace('cmyk')
      .jpeg()
      .toBuffer();
    const { data } = await decode(ink);
    expect(data).to.have.length(3 * width * height);
    for (let i = 3; i < data.length; i += 3)
      if (data[i] !== data[0] || data[i + 1] !== data[1] || data[i + 2] !== data[2]) expect.fail(`pixel ${i / 3} differs`);
  }).timeout(60_000);

  it('refuses a JPEG without a frame itself, for libjpeg would read all of a gigabyte to look for it', async () => {
    for (const bytes of [Buffer.from([0xff, 0xd8, 0xff, ...new Array(999).fill(0)]), Buffer.alloc(1000, 0xff).fill(0xd8, 1, 2)]) {
      const error = await failure(decode(bytes));
      expect(error.code).to.equal('undecodable_image');
      expect(error.message).to.include('a JPEG without a frame');
    }
  });

  it('refuses a 20000 x 20000 image by its header', async () => {
    const black = { create: { width: 200, height: 200, channels: 3 as const, background: 'black' } };
    const jpeg = await sharp(black).jpeg().toBuffer();
    const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]));
    jpeg.writeUInt16BE(20000, frame + 5);
    jpeg.writeUInt16BE(20000, frame + 7);
    const error = await failure(decode(jpeg));
    expect(error.code).to.equal('undecodable_image');
    expect(error.message).to.include('more than 178956970 pixels');
  });

  it('refuses TIFFs whose conversion is not known to be the same', async () => {
    const cmyk = await sharp(input('jpeg-cmyk.jpg')).pipelineColourspace('cmyk').toColourspace('cmyk').tiff().toBuffer();
    expect((await failure(decode(cmyk))).message).to.include('a TIFF of uchar cmyk pixels');
  });

  it('survives random damage: pixels of the right size, or undecodable_image', async () => {
    let seed = 1;
    const random = (n: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
    for (const file of [
      'jpeg-restart.jpg',
      'jpeg-ycck.jpg',
      'png-palette-transparent.png',
      'webp-alpha.webp',
      'gif-animated.gif',
      'tiff-grey.tif',
    ]) {
      const whole = await readFile(input(file));
      for (let trial = 0; trial < 25; trial++) {
        const bytes = Buffer.from(whole);
        for (let i = 0; i < 4; i++) bytes[random(trial % 2 ? 200 : bytes.length)] = random(256);
        try {
          const { data, width, height, channels } = await decode(bytes);
          expect(data.length).to.equal(width * height * channels);
        } catch (error) {
          expect(error).to.have.property('code', 'undecodable_image');
        }
      }
    }
  });
});
