import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { align } from '../../lib/align/align.js';
import type { AlignOptions } from '../../lib/align/options.js';
import { writeScenes } from '../../lib/demo/scenes.js';
import { openEncoder } from '../../lib/embed/encoder.js';
import { readSafetensors } from '../../lib/files/safetensors.js';
import { packageRoot } from '../../lib/package.js';

const models = join(packageRoot(), 'configs', 'demo');

describe('a run of kuea-align', () => {
  let work: string;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-run-'));
    await writeScenes(join(work, 'photos'), 8, 3, 64);
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  async function embedding(ref: string): Promise<Float32Array> {
    await using encoder = await openEncoder(ref);
    const photos = join(work, 'photos');
    const images = readdirSync(photos).filter((name) => name.endsWith('.jpg'));
    return await encoder.encodeImages(images.slice(0, 2).map((name) => join(photos, name)));
  }

  const options = (student: string, out: string): AlignOptions => ({
    student,
    teacher: join(models, 'dinov2'),
    data: join(work, 'photos'),
    out: join(work, out),
    steps: 2,
    batchSize: 4,
    lr: 1e-3,
    saveEvery: 1,
    device: 'cpu',
  });

  it('is the model that it exports; its checkpoints are models, and students of others', async () => {
    const first = await align(options(join(models, 'clip'), 'first')).result;
    const exported = await embedding(first.exports[0]!.path);
    expect(await embedding(join(work, 'first'))).to.deep.equal(exported);
    expect(await embedding(join(work, 'first/checkpoints/step-000002'))).to.deep.equal(exported);
    expect(await embedding(join(work, 'first/checkpoints/step-000001'))).to.not.deep.equal(exported);

    const second = await align({ ...options(join(work, 'first/checkpoints/step-000001'), 'second'), exportLayouts: ['hf', 'visual'] })
      .result;
    const [hf, visual] = second.exports.map(({ path }) => path);
    expect(await embedding(visual!)).to.deep.equal(await embedding(hf!));
    expect([...(await readSafetensors(join(hf!, 'model.safetensors'))).tensors.keys()], 'its text tower').to.include('logit_scale');
    expect(readdirSync(hf!)).to.include('merges.txt');
  });
});
