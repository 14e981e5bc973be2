import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';
import { openWeights } from '../../lib/models/open.js';
import type { Precision } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';
import { difference, floats } from './numbers.js';

interface Case {
  case: string;
  family: 'clip' | 'dinov2';
  ref: string;
  activation?: 'quick_gelu' | 'gelu';
  size: number;
  dim: number;
  /** uint8 [2, 3, size, size] and fp32 [2, dim], base64. */
  pixels: string;
  expected: string;
}

const folder = join(packageRoot(), 'test/golden/encoders');
const { cases } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as { cases: Case[] };

async function embed({ ref, family, activation, pixels, size }: Case, precision: Precision): Promise<Float32Array> {
  const { arch, plan, mean, std } = await openWeights(join(folder, ref), { role: family === 'clip' ? 'student' : 'teacher', activation });
  const encoder = await loadAddon().openEncoder({ arch, weights: plan, mean, std, precision, device: 'cpu' });
  try {
    return await encoder.encode(Buffer.from(pixels, 'base64'), 2, size);
  } finally {
    await encoder.close();
  }
}

describe('the encoders', () => {
  for (const c of cases) {
    it(`${c.case} at ${c.size} px: embeddings of its upstream`, async () => {
      expect(difference(await embed(c, 'fp32'), floats(c.expected))).to.be.at.most(1e-5);
    });
  }

  for (const c of cases.filter(({ case: name }) => ['hf-l14', 'open-clip-quickgelu', 'dinov2-swiglu'].includes(name))) {
    it(`${c.case} in bf16: near them`, async () => {
      expect(difference(await embed(c, 'bf16'), floats(c.expected))).to.be.within(1e-6, 3e-2);
    });
  }

  it('refuse images of a size that they do not take', async () => {
    const code = (c: Case) =>
      embed({ ...c, pixels: Buffer.alloc(2 * 3 * 30 * 30).toString('base64'), size: 30 }, 'fp32').then(
        () => 'none',
        (error: { code: string }) => error.code,
      );
    expect(await code(cases.find(({ family }) => family === 'clip')!)).to.equal('bad_image_size');
    expect(await code(cases.find(({ family }) => family === 'dinov2')!)).to.equal('bad_image_size');
  });

  it('refuse shapes that no model has, before they divide by them', async () => {
    for (const family of ['clip', 'dinov2'] as const) {
      const c = cases.find((other) => other.family === family)!;
      const { arch, plan, mean, std } = await openWeights(join(folder, c.ref), { role: family === 'clip' ? 'student' : 'teacher' });
      const numbers = { heads: [0, -1, arch.width + 1], layers: [0, 1e6], patchSize: [0, -14], imageSize: [0, 1e9], width: [0, 2 ** 40] };
      for (const [key, values] of Object.entries(numbers)) {
        for (const value of values) {
          const changed = { ...arch, [key]: value };
          const opened = loadAddon().openEncoder({ arch: changed, weights: plan, mean, std, precision: 'fp32', device: 'cpu' });
          const error = await opened.catch((e: unknown) => e as Error);
          expect(error, `${family} ${key} ${value}`).to.have.property('code', 'bad_config');
        }
      }
    }
  });

  it('compute what was asked for before close()', async () => {
    const [c] = cases;
    const { arch, plan, mean, std } = await openWeights(join(folder, c!.ref));
    const encoder = await loadAddon().openEncoder({ arch, weights: plan, mean, std, precision: 'fp32', device: 'cpu' });
    const asked = Array.from({ length: 4 }, () => encoder.encode(Buffer.from(c!.pixels, 'base64'), 2, c!.size));
    await encoder.close();
    for (const embeddings of await Promise.all(asked)) expect(embeddings).to.have.length(2 * c!.dim);
  });

  it('are an error after close()', async () => {
    const [c] = cases;
    const { arch, plan, mean, std } = await openWeights(join(folder, c!.ref));
    const encoder = await loadAddon().openEncoder({ arch, weights: plan, mean, std, precision: 'fp32', device: 'cpu' });
    await encoder.close();
    await encoder.close();
    const error = await encoder.encode(Buffer.from(c!.pixels, 'base64'), 2, c!.size).catch((e: unknown) => e);
    expect(error).to.have.property('code', 'closed');
  });
});
