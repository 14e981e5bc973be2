import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { openEncoder } from '../../lib/embed/encoder.js';
import { convert } from '../../lib/models/convert.js';
import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';

// Made by scripts/golden/demo_embeddings.py: transformers on the same files.
const golden = join(packageRoot(), 'test', 'golden', 'demo');
const models = join(packageRoot(), 'configs', 'demo');
const images = [0, 1, 2, 3].map((i) => join(golden, `scene-${String(i).padStart(6, '0')}.jpg`));

describe("the demo's models", () => {
  for (const name of ['clip', 'dinov2'] as const) {
    it(`${name} gives transformers' embeddings, from JPEG to vector`, async () => {
      const expected = (JSON.parse(await readFile(join(golden, 'embeddings.json'), 'utf8')) as Record<string, number[][]>)[name]!;
      await using encoder = await openEncoder(join(models, name));
      const found = await encoder.encodeImages(images);
      expect(encoder.dim).to.equal(expected[0]!.length);
      // Norms are 10 and 16; fp32 through three layers keeps five digits of each number.
      for (const [i, value] of expected.flat().entries()) expect(found[i], `number ${i}`).to.be.closeTo(value, 2e-4);
    });
  }

  it('keep their config in an export, to the letter, but for the dtype', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kuea-demo-'));
    try {
      await convert(loadAddon(), join(models, 'clip'), 'hf', join(folder, 'hf'));
      const [before, after] = await Promise.all(
        [join(models, 'clip'), join(folder, 'hf')].map((dir) => readFile(join(dir, 'config.json'), 'utf8')),
      );
      // "initializer_factor": 1.0 must not become 1: transformers wants a float there.
      expect(after).to.equal(before!.replace('"dtype": "float16"', '"dtype": "float32"')).and.to.include('1.0,');
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
