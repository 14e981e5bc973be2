import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { KueaError } from '../../../lib/errors.js';
import { openLlava } from '../../../lib/models/llava/open.js';
import { openWeights } from '../../../lib/models/open.js';
import { readShape } from '../../../lib/models/read-shape.js';
import { loadAddon } from '../../../lib/native/load.js';
import { packageRoot } from '../../../lib/package.js';
import { golden } from './llava/support.js';

type Node = Record<string, unknown>;

const root = packageRoot();
const encoders = join(root, 'test/golden/encoders');
const values: unknown[] = [0, -1, 0.5, 1e6, 1e300, null, 'x', { toString: 1 }];

/** Every place of a config that holds a number, a truth or a section, as keys from the top. */
function places(node: unknown, path: string[] = []): string[][] {
  if (typeof node === 'number' || typeof node === 'boolean') return [path];
  if (typeof node !== 'object' || node === null || Array.isArray(node)) return [];
  return [...(path.length > 0 ? [path] : []), ...Object.entries(node).flatMap(([key, value]) => places(value, [...path, key]))];
}

function mutated(config: Node, path: readonly string[], value: unknown): Node {
  const copy = structuredClone(config);
  const parent = path.slice(0, -1).reduce((node, key) => node[key] as Node, copy);
  parent[path.at(-1)!] = value;
  return copy;
}

/** Opens it and computes with it: where the shape is taken, the addon must take it too. */
async function compute(ref: string): Promise<void> {
  const { arch, plan, mean, std, preprocessing } = await openWeights(ref);
  const encoder = await loadAddon().openEncoder({ arch, weights: plan, mean, std, precision: 'fp32', device: 'cpu' });
  try {
    const { crop } = preprocessing;
    if (crop <= 128) await encoder.encode(new Uint8Array(3 * crop * crop), 1, crop);
  } finally {
    await encoder.close();
  }
}

/** The same of its text tower. */
async function computeText(ref: string): Promise<void> {
  const { text } = await openWeights(ref);
  const encoder = await loadAddon().openTextEncoder({ ...text!.plan(), precision: 'fp32', device: 'cpu' });
  try {
    await encoder.encode(Int32Array.of(38, 1, 39), 1, 3);
  } finally {
    await encoder.close();
  }
}

const cases: [name: string, model: string, file: string, open: (ref: string) => Promise<unknown>][] = [
  ['of a CLIP', join(encoders, 'hf-b32'), 'config.json', compute],
  ["of open_clip's", join(encoders, 'open-clip'), 'open_clip_config.json', compute],
  ["of a CLIP's texts", join(encoders, 'hf-b32'), 'config.json', computeText],
  ["of open_clip's texts", join(encoders, 'open-clip'), 'open_clip_config.json', computeText],
  ['of a DINOv2', join(encoders, 'dinov2'), 'config.json', compute],
  ['of images', join(root, 'configs/demo/dinov2'), 'preprocessor_config.json', compute],
  ["of the authors' LLaVA", golden('original'), 'config.json', openLlava],
  ["of transformers' LLaVA", golden('hf-newest'), 'config.json', openLlava],
];

describe('a config with one value replaced', function () {
  this.timeout(120_000);
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-mutated-'));
    cpSync(golden('tower-hf'), join(work, 'tower-hf'), { recursive: true });
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  for (const [name, model, file, open] of cases) {
    it(`${name}: opens, or is one KueaError`, async () => {
      const folder = join(work, `${name.replaceAll(/\W/g, '-')}`);
      cpSync(model, folder, { recursive: true });
      const config = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Node;
      const bare = mkdtempSync(join(work, 'bare-'));
      const attempts = [() => open(folder), ...(open === compute && file !== 'preprocessor_config.json' ? [() => readShape(bare)] : [])];
      let refused = 0;
      // Whoever wants images alone has the text tower carried along, and its config is not read.
      for (const path of places(config).filter(([first]) => open !== compute || first !== 'text_config')) {
        for (const value of values) {
          const text = JSON.stringify(mutated(config, path, value));
          for (const where of [folder, bare]) writeFileSync(join(where, file), text);
          for (const attempt of attempts) {
            const error = await attempt().then(
              () => null,
              (found: unknown) => found,
            );
            if (error === null) continue;
            refused++;
            expect(error, `${path.join('.')} ${JSON.stringify(value)}: ${(error as Error).stack}`).to.be.instanceOf(KueaError);
          }
        }
      }
      expect(refused).to.be.greaterThan(20);
    });
  }
});
