import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { openLlava } from '../../../../lib/models/llava/open.js';
import { readLlavaShape } from '../../../../lib/models/llava/shape.js';
import { packageRoot } from '../../../../lib/package.js';

const root = packageRoot();

describe('the shape of a LLaVA from its config.json', () => {
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-shape-'));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  for (const [layout, folder] of [
    ["llava-hf's", 'test/golden/lora-trace/model'],
    ["the authors', the tower beside it", 'configs/demo/llava'],
  ] as const) {
    it(`is what its weights have, in ${layout} layout`, async () => {
      const { model, imageToken } = await openLlava(join(root, folder));
      const shape = await readLlavaShape(join(root, folder), undefined);
      expect(shape.llama).to.deep.equal(model.llama);
      // What the last block's projection would give is not used, and a file may lack it.
      expect({ ...shape.vision, embedDim: 0 }).to.deep.equal({ ...model.vision, embedDim: 0 });
      expect(shape.imageToken).to.equal(imageToken);
      expect(shape.notes).to.deep.equal([]);
    });
  }

  it('takes the shape of another tower, and says when it had to suppose one', async () => {
    const { vision } = await readLlavaShape(join(root, 'test/golden/lora-trace/model'), join(root, 'configs/demo/clip'));
    expect(vision).to.include({ width: 128, imageSize: 64, patchSize: 8, layers: 3, heads: 2 });
    writeFileSync(
      join(work, 'config.json'),
      JSON.stringify({ model_type: 'llama', hidden_size: 64, num_attention_heads: 4, num_hidden_layers: 2, intermediate_size: 128 }),
    );
    const supposed = await readLlavaShape(work, undefined);
    expect(supposed.vision).to.include({ width: 1024, imageSize: 336 });
    expect(supposed.notes).to.have.length(1);
    expect((await readLlavaShape(work, 'a/tower')).notes[0]).to.match(/^the tower a\/tower is not here/);
  });

  it('refuses a tower whose name is no path', async () => {
    const like = { model_type: 'llava', mm_projector_type: 'mlp2x_gelu', mm_vision_select_layer: -2, hidden_act: 'silu' };
    for (const name of ['a'.repeat(2000), 'a\nb']) {
      writeFileSync(join(work, 'config.json'), JSON.stringify({ ...like, mm_vision_tower: name }));
      const error = await readLlavaShape(work, undefined).catch((e: unknown) => e);
      expect(error).to.include({ code: 'bad_config' });
      expect((error as Error).message)
        .to.include('mm_vision_tower')
        .and.have.length.below(400);
    }
  });

  it('needs that file', async () => {
    const error = await readLlavaShape(join(work, 'none', 'such'), undefined).catch((e: unknown) => e);
    expect(error).to.include({ code: 'bad_config' });
  });
});
