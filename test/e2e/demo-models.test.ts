import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { openEncoder } from '../../lib/encoder.js';
import { packageRoot } from '../../lib/native/load.js';

// Made by scripts/golden/demo_embeddings.py: transformers on the same files.
const golden = join(packageRoot(), 'test', 'golden', 'demo');
const images = [0, 1, 2, 3].map((i) => join(golden, `scene-${String(i).padStart(6, '0')}.jpg`));

describe("the demo's models", () => {
  for (const name of ['clip', 'dinov2'] as const) {
    it(`${name} gives transformers' embeddings, from JPEG to vector`, async () => {
      const expected = (JSON.parse(await readFile(join(golden, 'embeddings.json'), 'utf8')) as Record<string, number[][]>)[name]!;
      await using encoder = await openEncoder(join(packageRoot(), 'configs', 'demo', name));
      const found = await encoder.encodeImages(images);
      expect(encoder.dim).to.equal(expected[0]!.length);
      // Norms are 10 and 16; fp32 through three layers keeps five digits of each number.
      for (const [i, value] of expected.flat().entries()) expect(found[i], `number ${i}`).to.be.closeTo(value, 2e-4);
    });
  }
});
