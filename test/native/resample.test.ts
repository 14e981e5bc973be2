import { expect } from 'chai';

import type { ResampleTask } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';

/** A task on drawn pixels: uint8 [height, width, channels] with a pattern that no symmetry leaves unchanged. */
function task(width: number, height: number, channels: 1 | 3, size: number, changed: Partial<ResampleTask> = {}): ResampleTask {
  const source = Uint8Array.from({ length: width * height * channels }, (_, i) => (i * i * 7 + (i >> 3) * 13) & 255);
  const target = new Uint8Array(3 * size * size);
  return {
    source,
    width,
    height,
    channels,
    resizedWidth: width,
    resizedHeight: height,
    left: 0,
    top: 0,
    size,
    target,
    offset: 0,
    ...changed,
  };
}

async function run(t: ResampleTask): Promise<Uint8Array> {
  await loadAddon().resample(t);
  return t.target;
}

// Equality with Pillow is tested in test/unit/data/preprocess.test.ts, on the goldens.
describe('resample', () => {
  it('copies at the same size, taking the channels apart', async () => {
    const t = task(9, 9, 3, 9);
    const planar = await run(t);
    for (let i = 0; i < 81; i++) for (let c = 0; c < 3; c++) expect(planar[81 * c + i]).to.equal(t.source[3 * i + c]);
  });

  it('gives grey three equal planes, the same as from three equal channels', async () => {
    const grey = task(57, 41, 1, 16, { resizedWidth: 22, resizedHeight: 16, left: 3 });
    const source = Uint8Array.from({ length: 3 * grey.source.length }, (_, i) => grey.source[Math.floor(i / 3)]!);
    const colour = { ...grey, source, channels: 3 as const, target: new Uint8Array(3 * 256) };
    expect(await run(grey)).to.deep.equal(await run(colour));
    expect(grey.target.subarray(0, 256)).to.deep.equal(grey.target.subarray(512));
  });

  it('computes a window as part of the whole', async () => {
    for (const [resizedWidth, resizedHeight] of [
      [40, 40],
      [90, 90],
      [7, 7],
    ] as const) {
      const side = Math.min(resizedWidth, resizedHeight);
      const whole = await run(task(53, 47, 3, side, { resizedWidth, resizedHeight }));
      const size = side - 4;
      const part = await run(task(53, 47, 3, size, { resizedWidth, resizedHeight, left: 3, top: 1 }));
      for (let c = 0; c < 3; c++) {
        for (let y = 0; y < size; y++) {
          const row = (plane: Uint8Array, n: number, top: number, left: number) =>
            plane.subarray(c * n * n + (y + top) * n + left).subarray(0, size);
          expect(row(part, size, 0, 0)).to.deep.equal(row(whole, side, 1, 3));
        }
      }
    }
  });

  it('is 0 outside the resized image', async () => {
    const inside = await run(task(10, 10, 3, 6, { resizedWidth: 6, resizedHeight: 6 }));
    const padded = await run(
      task(10, 10, 3, 10, { resizedWidth: 6, resizedHeight: 6, left: -2, top: -3, target: new Uint8Array(300).fill(9) }),
    );
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < 10; y++) {
        for (let x = 0; x < 10; x++) {
          const within = x >= 2 && x < 8 && y >= 3 && y < 9;
          expect(padded[100 * c + 10 * y + x]).to.equal(within ? inside[36 * c + 6 * (y - 3) + (x - 2)] : 0);
        }
      }
    }
    expect((await run(task(10, 10, 3, 4, { left: 50, target: new Uint8Array(48).fill(9) }))).every((v) => v === 0)).to.equal(true);
  });

  it('writes at the offset alone, many at a time', async () => {
    const target = new Uint8Array(40 * 3 * 64).fill(5);
    await Promise.all(
      Array.from({ length: 19 }, (_, i) =>
        run(task(30 + i, 20, 3, 8, { resizedWidth: 12, resizedHeight: 8, target, offset: 2 * i * 192 })),
      ),
    );
    for (let i = 0; i < 19; i++) {
      expect(target.subarray(2 * i * 192, (2 * i + 1) * 192)).to.deep.equal(
        await run(task(30 + i, 20, 3, 8, { resizedWidth: 12, resizedHeight: 8 })),
      );
      expect(target.subarray((2 * i + 1) * 192, (2 * i + 2) * 192).every((v) => v === 5)).to.equal(true);
    }
  });

  it('refuses numbers that would leave its arrays', () => {
    const { resample } = loadAddon();
    const refused = (changed: Partial<ResampleTask>) => expect(() => void resample(task(10, 10, 3, 8, changed))).to.throw(RangeError);
    refused({ width: 11 });
    refused({ offset: 1 });
    refused({ offset: -1 });
    refused({ size: 9 });
    refused({ size: 0 });
    refused({ resizedWidth: 0 });
    refused({ height: -1 });
    refused({ channels: 4 as 3 });
    // Products that wrap, numbers that do, and a window whose end does.
    refused({ size: 2 ** 31 - 1 });
    refused({ width: 2 ** 31 - 1, height: 2 ** 31 - 1, channels: 3 });
    refused({ size: 2 ** 32 + 8 });
    refused({ left: 2 ** 31 - 1 });
    refused({ width: 9.5 });
  });
});
