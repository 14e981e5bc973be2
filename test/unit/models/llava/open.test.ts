import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { type OpenLlavaOptions, openLlava } from '../../../../lib/models/llava/open.js';
import type { Json } from '../../../../lib/models/model-folder.js';
import { changed as changedIn, expected, failure, golden, hashes, manifest } from './support.js';

describe('LLaVA on disk', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-llava-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  const changed = (name: string, change: Json, file?: string) => changedIn(work, name, change, file);

  const tower = { visionTower: golden('tower-hf') };
  const layouts: [name: string, options: OpenLlavaOptions, layout: string, rows: number][] = [
    ['original', {}, 'original', manifest.vocabulary],
    ['original', { visionTower: golden('tower-visual/final.pt') }, 'original', manifest.vocabulary],
    ['original-tower', {}, 'original', manifest.vocabulary],
    ['original-tower', tower, 'original', manifest.vocabulary],
    ['vicuna', tower, 'original', manifest.vocabulary],
    ['hf-old', {}, 'hf-old', manifest.rows],
    ['hf-new', {}, 'hf-new', manifest.rows],
    ['hf-newest', {}, 'hf-old', manifest.rows],
    ['hf-newest', tower, 'hf-old', manifest.rows],
  ];
  for (const [name, options, layout, rows] of layouts) {
    it(
      `${name}${options.visionTower ? ` with the tower of ${options.visionTower.slice(golden('').length + 1)}` : ''}: the same numbers ` +
        `under the same names`,
      async () => {
        const llava = await openLlava(golden(name), options);
        expect(llava.layout).to.equal(layout);
        expect(llava.model.llama).to.deep.equal({
          family: 'llama',
          width: 16,
          layers: 2,
          heads: 2,
          mlpWidth: 24,
          vocabulary: rows,
          rmsNormEps: 1e-5,
          ropeTheta: 10000,
        });
        expect(llava.model.vision).to.include({
          width: 64,
          layers: 2,
          heads: 1,
          mlpWidth: 16,
          patchSize: 4,
          imageSize: 8,
          activation: 'quick_gelu',
        });
        expect(llava).to.include({
          patches: 4,
          dtype: 'F16',
          adapter: null,
          imageToken: layout === 'original' ? undefined : manifest.vocabulary,
        });
        expect(hashes(llava.model.weights)).to.deep.equal(expected(rows));
      },
    );
  }

  it('has one fingerprint in every layout, and another when a weight differs', async () => {
    const prints = await Promise.all(
      layouts.map(async ([name, options]) => {
        const { language, vision } = (await openLlava(golden(name), options)).trainedOn;
        return `${language} ${vision}`;
      }),
    );
    expect(new Set(prints).size).to.equal(1);
    const folder = changed('hf-new', {});
    const bytes = readFileSync(join(folder, 'model.safetensors'));
    const norm = (await openLlava(folder)).model.weights.find(({ parameter }) => parameter === 'model.layers.1.mlp.up_proj.weight')!;
    bytes[norm.source.offset]! ^= 1;
    writeFileSync(join(folder, 'model.safetensors'), bytes);
    const { language, vision } = (await openLlava(folder)).trainedOn;
    expect([language === prints[0]!.split(' ')[0], vision === prints[0]!.split(' ')[1]]).to.deep.equal([false, true]);
  });

  it('through ln_post has its weights too', async () => {
    expect(hashes((await openLlava(golden('original'), { feature: 'ln_post' })).model.weights)).to.deep.equal(
      expected(manifest.vocabulary, 'ln_post'),
    );
  });

  it('squares images where its config says so', async () => {
    expect((await openLlava(golden('original'))).image).to.deep.equal({ size: 8, aspect: 'pad' });
    expect((await openLlava(golden('original-tower'))).image).to.deep.equal({ size: 8, aspect: 'crop' });
    const hf = changed('hf-new', {});
    expect((await openLlava(hf)).image.aspect).to.equal('crop');
    writeFileSync(
      join(hf, 'preprocessor_config.json'),
      JSON.stringify({ do_pad: true, image_mean: [0.1, 0.2, 0.3], size: { shortest_edge: 8 }, crop_size: 8 }),
    );
    const { image, model } = await openLlava(hf);
    expect([image.aspect, model.mean]).to.deep.equal(['pad', [0.1, 0.2, 0.3]]);
  });

  it('fills in the defaults of LlamaConfig, so a missing size is a misfit, not a guess', async () => {
    const { message } = await failure(openLlava(changed('hf-new', { text_config: { model_type: 'llama', vocab_size: 48 } })));
    expect(message).to.match(
      /missing .*layers\.2\.self_attn\.q_proj.*misshapen model\.language_model\.embed_tokens\.weight \[48, 16\] where \[48, 4096\]/,
    );
  });

  const refusals: [name: string, change: Json, expected: RegExp][] = [
    ['original', { num_key_value_heads: 1 }, /num_key_value_heads 2 .* found 1/],
    ['original', { rope_scaling: { type: 'linear', factor: 2 } }, /rope_scaling none .* found {"type":"linear","factor":2}/],
    ['original', { rope_parameters: { rope_type: 'yarn', rope_theta: 1e4 } }, /RoPE without scaling/],
    ['original', { attention_bias: true }, /attention_bias false .* found true/],
    ['original', { tie_word_embeddings: true }, /tie_word_embeddings false/],
    ['original', { hidden_act: 'gelu' }, /hidden_act "silu" .* found "gelu"/],
    ['original', { mm_projector_type: 'linear' }, /mm_projector_type "mlp2x_gelu" .* found "linear"/],
    ['original', { mm_projector_type: undefined }, /mm_projector_type "mlp2x_gelu" .* found none/],
    ['original', { mm_use_im_start_end: true }, /mm_use_im_start_end false/],
    ['original', { mm_vision_select_layer: -1 }, /mm_vision_select_layer -2 .* found -1/],
    ['original', { mm_vision_select_feature: 'cls_patch' }, /mm_vision_select_feature "patch"/],
    ['original', { image_aspect_ratio: 'anyres' }, /image_aspect_ratio "pad" .* found "anyres"/],
    ['original', { model_type: 'llava_mistral' }, /model_type "llava" .* found "llava_mistral"/],
    ['original', { quantization_config: { bits: 4 } }, /quantization_config none/],
    ['hf-new', { vision_feature_layer: [-2, -5] }, /vision_feature_layer -2 .* found \[-2,-5\]/],
    ['hf-new', { vision_feature_select_strategy: 'full' }, /vision_feature_select_strategy "default"/],
    ['hf-new', { projector_hidden_act: 'gelu_pytorch_tanh' }, /projector_hidden_act "gelu"/],
    ['hf-new', { model_type: 'llava_next' }, /model_type "llava"/],
    ['hf-new', { text_config: { model_type: 'mistral' } }, /model_type "llama" .* found "mistral"/],
    ['hf-new', { text_config: { num_attention_heads: 2, hidden_size: 16, head_dim: 4 } }, /head_dim 8 .* found 4/],
  ];
  for (const [name, change, message] of refusals) {
    it(`is refused with ${Object.entries(change)
      .map(([key, value]) => `${key} ${JSON.stringify(value)}`)
      .join()}`, async () => {
      const refused = await failure(openLlava(changed(name, change)));
      expect(refused.code).to.equal('unsupported_model');
      expect(refused.message).to.match(message);
    });
  }

  it('without what it needs is an error that says what to do', async () => {
    const folder = (name: string) => join(work, name);
    mkdirSync(folder('empty'));
    expect(await failure(openLlava(folder('empty')))).to.include({ code: 'weights_not_found' });
    expect(await failure(openLlava(folder('nothing')))).to.include({ code: 'weights_not_found' });
    cpSync(golden('original'), folder('no-config'), { recursive: true });
    rmSync(folder('no-config/config.json'));
    expect((await failure(openLlava(folder('no-config')))).message).to.match(
      /expected a model folder with config\.json .* found none in it/,
    );
    expect((await failure(openLlava(golden('adapter-original')))).message).to.match(/found an adapter .* --adapter/);
    expect(await failure(openLlava(golden('tower-hf')))).to.include({ code: 'wrong_family' });
    expect((await failure(openLlava(golden('vicuna')))).message).to.match(/expected a CLIP vision tower .* --vision-tower/);
    expect((await failure(openLlava(changed('original', { mm_vision_tower: './gone' })))).message).to.match(
      /tower \.\/gone, which config\.json of .* names, found nothing there: name it with --vision-tower/,
    );
    const bare = changed('vicuna', {});
    rmSync(join(bare, 'mm_projector.bin'));
    expect((await failure(openLlava(bare, tower))).message).to.match(/expected a projector .* mm_projector\.bin .* --projector/);
    expect(hashes((await openLlava(bare, { ...tower, projector: golden('vicuna/mm_projector.bin') })).model.weights)).to.deep.equal(
      expected(manifest.vocabulary),
    );
  });

  it('in damaged files is an error', async () => {
    const shard = changed('original', {});
    const file = join(shard, 'pytorch_model-00002-of-00002.bin');
    const whole = readFileSync(file);
    writeFileSync(file, whole.subarray(0, whole.length / 2));
    expect(await failure(openLlava(shard))).to.include({ code: 'bad_archive' });
    rmSync(file);
    expect(await failure(openLlava(shard))).to.include({ code: 'file_not_found' });
    const index = 'pytorch_model.bin.index.json';
    for (const [map, why] of [
      [{ a: '../x.bin' }, /no weights file beside it/],
      [{ a: index }, /no weights file beside it/],
      [{ a: 3 }, /no weights file beside it/],
      [undefined, /no weight_map/],
    ] as const) {
      const refused = await failure(openLlava(changed('original', { weight_map: map }, index)));
      expect(refused.code).to.equal('bad_index');
      expect(refused.message).to.match(why);
    }
    const map = (JSON.parse(readFileSync(golden(`original/${index}`), 'utf8')) as { weight_map: Json }).weight_map;
    const { 'model.norm.weight': norm, ...rest } = map;
    expect(norm).to.be.a('string');
    expect((await failure(openLlava(changed('original', { weight_map: rest }, index)))).message).to.match(/missing model\.norm\.weight$/);
  });
});
