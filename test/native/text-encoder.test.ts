import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';
import { openWeights } from '../../lib/models/open.js';
import type { NativeTextEncoder, Precision } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';
import { difference, floats } from './numbers.js';

interface Case {
  /** Of a model under test/golden. */
  ref: string;
  activation?: 'quick_gelu';
  ids: number[][];
  /** fp32 [ids.length, 16], base64. */
  expected: string;
  logitScale: number;
}

const folder = join(packageRoot(), 'test/golden');
const { cases } = JSON.parse(readFileSync(join(folder, 'clip-texts/manifest.json'), 'utf8')) as { cases: Case[] };
const particular = cases.find(({ ref }) => ref === 'clip-texts/hf-former-end')!;

async function open({ ref, activation }: Case, precision: Precision): Promise<NativeTextEncoder> {
  const { text } = await openWeights(join(folder, ref), { activation });
  return loadAddon().openTextEncoder({ ...text!.plan(), precision, device: 'cpu' });
}

async function withEncoder<T>(c: Case, precision: Precision, use: (encoder: NativeTextEncoder) => Promise<T>): Promise<T> {
  const encoder = await open(c, precision);
  try {
    return await use(encoder);
  } finally {
    await encoder.close();
  }
}

const encode = (encoder: NativeTextEncoder, ids: number[][]) => encoder.encode(Int32Array.from(ids.flat()), ids.length, ids[0]!.length);

describe("CLIP's text tower", () => {
  for (const c of cases) {
    it(`${c.ref}: embeddings of its upstream`, async () => {
      const found = await withEncoder(c, 'fp32', (encoder) => encode(encoder, c.ids));
      expect(difference(found, floats(c.expected))).to.be.at.most(1e-5);
    });

    it(`${c.ref}: its logit scale`, async () => {
      const { logitScale } = await openWeights(join(folder, c.ref), { activation: c.activation });
      expect(Math.exp(logitScale!)).to.be.closeTo(c.logitScale, 1e-6);
    });
  }

  for (const c of cases.filter(({ ref }) => ref.startsWith('clip-texts'))) {
    it(`${c.ref} in bf16: near them`, async () => {
      const found = await withEncoder(c, 'bf16', (encoder) => encode(encoder, c.ids));
      expect(difference(found, floats(c.expected))).to.be.within(1e-6, 3e-2);
    });
  }

  it('gives a text one embedding, whatever it is batched with and whatever follows its end', async () => {
    const expected = floats(particular.expected);
    const dim = expected.length / particular.ids.length;
    await withEncoder(particular, 'fp32', async (encoder) => {
      expect(encoder.dim).to.equal(dim);
      for (const [i, ids] of particular.ids.entries()) {
        const own = expected.subarray(i * dim, (i + 1) * dim);
        const cut = ids.slice(0, 1 + ids.indexOf(39));
        expect(difference(await encode(encoder, [ids]), own), 'alone').to.be.at.most(1e-5);
        expect(difference(await encode(encoder, [cut]), own), 'without padding').to.be.at.most(1e-5);
        expect(difference(await encode(encoder, [[...cut, ...Array(7).fill(1)].slice(0, 7)]), own), 'padded').to.be.at.most(1e-5);
      }
    });
  });

  it('refuses ids outside its vocabulary, too many of them, and texts without their end', async () => {
    const codeOf = (c: Case, ids: number[][]) =>
      withEncoder(c, 'fp32', (encoder) => encode(encoder, ids)).then(
        () => 'none',
        (error: { code: string }) => error.code,
      );
    expect(await codeOf(particular, [[38, 39, 40]])).to.equal('bad_batch');
    expect(await codeOf(particular, [[38, -1, 39]])).to.equal('bad_batch');
    expect(await codeOf(particular, [Array(8).fill(39)])).to.equal('bad_batch');
    expect(await codeOf(cases.find(({ ref }) => ref === 'clip-texts/hf-other-end')!, [[38, 1, 39]])).to.equal('bad_batch');
  });

  it('refuses shapes that cannot be, before anything is allocated, and lengths that do not fit', async () => {
    const { text } = await openWeights(join(folder, particular.ref));
    const { arch, weights } = text!.plan();
    for (const wrong of [
      { heads: 0 },
      { heads: 5 },
      { layers: 0 },
      { width: -1 },
      { context: 0 },
      { vocabulary: 2 ** 40 },
      { embedDim: 0 },
    ]) {
      const opened = loadAddon().openTextEncoder({ arch: { ...arch, ...wrong }, weights, precision: 'fp32', device: 'cpu' });
      expect(await opened.catch((error: unknown) => error), JSON.stringify(wrong)).to.have.property('code', 'bad_config');
    }
    const lengths: [number, number][] = [
      [2, 2],
      [0, 3],
      [-2, -3],
      [2 ** 32, 2 ** 32],
      [6, 0],
    ];
    await withEncoder(particular, 'fp32', async (encoder) => {
      const ids = Int32Array.of(38, 3, 39, 38, 4, 39);
      for (const [count, context] of lengths)
        expect(() => encoder.encode(ids, count, context), `${count} x ${context}`).to.throw(RangeError);
      expect(() => encoder.encode(Uint32Array.from(ids) as never, 2, 3)).to.throw(TypeError, 'expected an Int32Array for ids');
    });
  });

  it('is an error after close()', async () => {
    const encoder = await open(particular, 'fp32');
    await encoder.close();
    await encoder.close();
    expect(await encode(encoder, particular.ids).catch((error: unknown) => error)).to.have.property('code', 'closed');
  });
});
