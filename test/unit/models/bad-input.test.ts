import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import { buildHeader, readSafetensors } from '../../../lib/files/safetensors.js';
import { openWeights } from '../../../lib/models/open.js';
import { packageRoot } from '../../../lib/package.js';
import { failure, useFolder } from '../files/support.js';

const goldens = join(packageRoot(), 'test/golden/encoders');

describe('damaged and hostile weights', () => {
  const { path, file } = useFolder();

  describe('models', () => {
    async function folder(name: string, config: unknown, tensors: { name: string; shape: number[] }[]): Promise<string> {
      await mkdir(path(name), { recursive: true });
      const entries = tensors.map((tensor) => ({ ...tensor, dtype: 'F32' as const }));
      const bytes = entries.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
      file(`${name}/model.safetensors`, buildHeader(entries), Buffer.alloc(bytes));
      file(`${name}/config.json`, JSON.stringify(config));
      return path(name);
    }

    it('say every tensor that is missing, unexpected or misshapen', async () => {
      const { tensors } = await readSafetensors(join(goldens, 'hf-b32/model.safetensors'));
      const wrong = [...tensors]
        .filter(([name]) => name !== 'vision_model.post_layernorm.bias')
        .map(([name, { shape }]) => ({ name, shape: name === 'vision_model.encoder.layers.1.mlp.fc2.bias' ? [7] : shape }));
      const ref = await folder('wrong', { vision_config: { num_attention_heads: 1 } }, [
        ...wrong,
        { name: 'vision_model.surprise', shape: [1] },
      ]);
      const { code, message } = await failure(openWeights(ref));
      expect(code).to.equal('bad_weights');
      expect(message).to.match(
        /missing vision_model\.post_layernorm\.bias; unexpected .*\.surprise; misshapen .*\.layers\.1\.mlp\.fc2\.bias \[7\] where \[64\]/,
      );
    });

    it('of the wrong family are refused, both ways', async () => {
      expect(await failure(openWeights(join(goldens, 'hf-b32'), { role: 'teacher' })))
        .to.include({ code: 'wrong_family' })
        .and.property('message')
        .match(/expected a DINOv2 for the teacher, found a CLIP/);
      expect(await failure(openWeights(join(goldens, 'dinov2'), { role: 'student' })))
        .to.include({ code: 'wrong_family' })
        .and.property('message')
        .match(/expected a CLIP for the student, found a DINOv2/);
      expect(await failure(openWeights(await folder('neither', {}, [{ name: 'x', shape: [1] }])))).to.include({ code: 'wrong_family' });
    });

    it('with another activation than the one asked for are refused', async () => {
      expect(await failure(openWeights(join(goldens, 'hf-b32'), { activation: 'gelu' }))).to.include({ code: 'activation_mismatch' });
      expect(await failure(openWeights(join(goldens, 'open-clip-checkpoint/epoch_3.pt')))).to.include({ code: 'activation_unknown' });
    });

    it('that are not there are an error that says what was looked for', async () => {
      expect(await failure(openWeights(path('nothing')))).to.include({ code: 'weights_not_found' });
      await mkdir(path('bare'), { recursive: true });
      expect((await failure(openWeights(path('bare')))).message).to.match(/expected model\.safetensors, .* found none of them/);
      expect((await failure(openWeights(file('weights.xyz', 'x')))).message).to.match(
        /expected a \.safetensors, \.pt, \.pth or \.bin file/,
      );
    });
  });
});
