import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { buildHeader } from '../../../lib/files/safetensors.js';
import { openLlava } from '../../../lib/models/llava/open.js';
import type { Json } from '../../../lib/models/model-folder.js';
import { openWeights } from '../../../lib/models/open.js';
import { packageRoot } from '../../../lib/package.js';
import { changed, failure, golden } from './llava/support.js';

const root = packageRoot();
const encoders = join(root, 'test/golden/encoders');

describe('configs that ask for what is not computed', () => {
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-configs-'));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  /** A copy of a model's folder with a JSON file changed by `change`, made where there is none. */
  function edited(model: string, file: string, change: (config: Json) => void): string {
    const folder = mkdtempSync(join(work, 'case-'));
    cpSync(model, folder, { recursive: true });
    let config: Json = {};
    try {
      config = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Json;
    } catch {
      // There is none.
    }
    change(config);
    writeFileSync(join(folder, file), JSON.stringify(config));
    return folder;
  }

  const within = (config: Json, ...keys: string[]): Json => keys.reduce((inner, key) => (inner[key] ??= {}) as Json, config);
  const clip = join(encoders, 'hf-b32');
  const dinov2 = join(encoders, 'dinov2');
  const swiglu = join(encoders, 'dinov2-swiglu');
  const openClip = join(encoders, 'open-clip');
  const absurd = { toString: 1 };

  const vision: [model: string, file: string, section: string[], change: Json, code: string, message: RegExp][] = [
    [
      clip,
      'config.json',
      ['vision_config'],
      { layer_norm_eps: 1e-6 },
      'unsupported_model',
      /layer_norm_eps 0.00001 in config\.json, found 0.000001/,
    ],
    [
      clip,
      'config.json',
      ['vision_config'],
      { hidden_act: absurd },
      'unsupported_model',
      /hidden_act quick_gelu or gelu .* found \{"toString":1\}/,
    ],
    [
      clip,
      'config.json',
      ['vision_config'],
      { num_attention_heads: 0 },
      'bad_config',
      /positive number for num_attention_heads .* found 0/,
    ],
    [clip, 'config.json', ['vision_config'], { num_attention_heads: 0.5 }, 'bad_config', /integer for num_attention_heads .* found 0\.5/],
    [clip, 'config.json', ['vision_config'], { num_attention_heads: 3 }, 'unsupported_model', /heads that divides the width 64, found 3/],
    [clip, 'config.json', ['vision_config'], { num_attention_heads: '4' }, 'bad_config', /num_attention_heads .* found "4"/],
    [clip, 'config.json', [], { vision_config: [1] }, 'bad_config', /object for vision_config .* found \[1\]/],
    [dinov2, 'config.json', [], { layer_norm_eps: 1e-5 }, 'unsupported_model', /layer_norm_eps 0.000001 .* found 0.00001/],
    [dinov2, 'config.json', [], { hidden_act: 'gelu_new' }, 'unsupported_model', /hidden_act "gelu" .* found "gelu_new"/],
    [dinov2, 'config.json', [], { qkv_bias: false }, 'unsupported_model', /qkv_bias true/],
    [dinov2, 'config.json', [], { use_swiglu_ffn: true }, 'unsupported_model', /use_swiglu_ffn false .* found true/],
    [swiglu, 'config.json', [], { use_swiglu_ffn: false }, 'unsupported_model', /use_swiglu_ffn true .* found false/],
    [dinov2, 'config.json', [], { num_attention_heads: 0 }, 'bad_config', /positive number for num_attention_heads .* found 0/],
    [dinov2, 'config.json', [], { num_attention_heads: 0.5 }, 'bad_config', /integer for num_attention_heads .* found 0\.5/],
    [dinov2, 'config.json', [], { num_attention_heads: 3 }, 'unsupported_model', /heads that divides the width 64, found 3/],
    [dinov2, 'config.json', [], { num_attention_heads: 1e9 }, 'unsupported_model', /heads that divides/],
    [
      openClip,
      'open_clip_config.json',
      ['model_cfg', 'vision_cfg'],
      { pool_type: 'avg' },
      'unsupported_model',
      /pool_type "tok" .* found "avg"/,
    ],
    [
      openClip,
      'open_clip_config.json',
      ['model_cfg', 'vision_cfg'],
      { global_average_pool: true },
      'unsupported_model',
      /global_average_pool false/,
    ],
    [openClip, 'open_clip_config.json', ['model_cfg', 'vision_cfg'], { attentional_pool: true }, 'unsupported_model', /attentional_pool/],
    [openClip, 'open_clip_config.json', ['model_cfg', 'vision_cfg'], { no_ln_pre: true }, 'unsupported_model', /no_ln_pre/],
    [openClip, 'open_clip_config.json', ['model_cfg', 'vision_cfg'], { norm_kwargs: { eps: 1e-6 } }, 'unsupported_model', /norm_kwargs/],
    [
      openClip,
      'open_clip_config.json',
      ['model_cfg', 'vision_cfg'],
      { act_kwargs: { approximate: 'tanh' } },
      'unsupported_model',
      /act_kwargs/,
    ],
    [openClip, 'open_clip_config.json', ['model_cfg', 'vision_cfg'], { head_width: 0 }, 'bad_config', /head_width/],
    [openClip, 'open_clip_config.json', ['model_cfg', 'vision_cfg'], { head_width: 1e-9 }, 'bad_config', /head_width/],
    [
      openClip,
      'open_clip_config.json',
      ['preprocess_cfg'],
      { interpolation: 'bilinear' },
      'unsupported_preprocessing',
      /bicubic interpolation/,
    ],
    [
      openClip,
      'open_clip_config.json',
      ['preprocess_cfg'],
      { resize_mode: 'squash' },
      'unsupported_preprocessing',
      /shortest as resize_mode .* found "squash"/,
    ],
    [
      openClip,
      'open_clip_config.json',
      ['preprocess_cfg'],
      { std: [1, 0, 1] },
      'bad_config',
      /three positive numbers for std .* found \[1,0,1\]/,
    ],
    [openClip, 'open_clip_config.json', ['preprocess_cfg'], { mean: 0.5 }, 'bad_config', /three numbers for mean .* found 0\.5/],
  ];
  for (const [model, file, section, change, code, message] of vision) {
    it(`${JSON.stringify(change)} in ${file} of ${model.split('/').at(-1)}: is refused`, async () => {
      const error = await failure(openWeights(edited(model, file, (config) => Object.assign(within(config, ...section), change))));
      expect(error.code, error.message).to.equal(code);
      expect(error.message).to.match(message);
    });
  }

  const preprocessing: [change: Json, code: string, message: RegExp][] = [
    [{ resample: 2 }, 'unsupported_preprocessing', /bicubic resampling \(3\) .* found 2/],
    [{ resample: absurd }, 'unsupported_preprocessing', /found \{"toString":1\}/],
    [{ do_resize: false }, 'unsupported_preprocessing', /do_resize true .* found false/],
    [{ do_center_crop: false }, 'unsupported_preprocessing', /do_center_crop true/],
    [{ do_rescale: false }, 'unsupported_preprocessing', /do_rescale true/],
    [{ do_normalize: false }, 'unsupported_preprocessing', /do_normalize true/],
    [{ rescale_factor: 1 / 127.5 }, 'unsupported_preprocessing', /1\/255 as rescale_factor/],
    [{ size: { height: 32, width: 32 } }, 'unsupported_preprocessing', /size as a number or \{shortest_edge\}/],
    [{ crop_size: { height: 32, width: 16 } }, 'unsupported_preprocessing', /a square crop_size/],
    [{ crop_size: 0 }, 'bad_config', /a side from 1 to 8192 pixels for crop_size .* found 0/],
    [{ crop_size: 40000 }, 'bad_config', /found 40000/],
    [{ crop_size: { height: 1.5, width: 1.5 } }, 'bad_config', /found 1\.5/],
    [{ size: { shortest_edge: -1 } }, 'bad_config', /for size .* found -1/],
    [{ size: 'large' }, 'bad_config', /object for size .* found "large"/],
    [{ image_std: [0, 0, 0] }, 'bad_config', /three positive numbers for image_std .* found \[0,0,0\]/],
    [{ image_std: [1, 1] }, 'bad_config', /image_std/],
    [{ image_mean: ['a', 1, 1] }, 'bad_config', /three numbers for image_mean/],
    [{ image_mean: [null, 1, 1] }, 'bad_config', /three numbers for image_mean/],
  ];
  for (const [change, code, message] of preprocessing) {
    it(`${JSON.stringify(change)} in preprocessor_config.json: is refused`, async () => {
      const error = await failure(openWeights(edited(clip, 'preprocessor_config.json', (config) => Object.assign(config, change))));
      expect(error.code, error.message).to.equal(code);
      expect(error.message).to.match(message);
    });
  }

  it('what says the usual in other words is not', async () => {
    const usual = { resample: 3, do_resize: true, do_rescale: null, rescale_factor: 0.00392156862745098, size: 96, crop_size: 64 };
    const folder = edited(clip, 'preprocessor_config.json', (config) => Object.assign(config, usual, { image_mean: [0, 0, 0] }));
    expect(await openWeights(folder)).to.deep.include({ mean: [0, 0, 0], preprocessing: { resize: 96, crop: 64, centre: 'down' } });
    const other = edited(openClip, 'open_clip_config.json', (config) => {
      Object.assign(within(config, 'preprocess_cfg'), { resize_mode: 'shortest', interpolation: 'bicubic' });
      Object.assign(within(config, 'model_cfg', 'vision_cfg'), { pool_type: 'tok', global_average_pool: false, ls_init_value: null });
    });
    expect((await openWeights(other)).arch).to.include({ heads: 1 });
  });

  /** A DINOv2 of the hub's layout, or a CLIP, of which every tensor is there and no number is told. */
  function shaped(name: string, tensors: Record<string, number[]>): string {
    mkdirSync(join(work, name), { recursive: true });
    const file = join(work, name, 'final.safetensors');
    const entries = Object.entries(tensors).map(([tensor, shape]) => ({ name: tensor, dtype: 'F32' as const, shape }));
    const bytes = entries.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
    writeFileSync(file, Buffer.concat([buildHeader(entries), Buffer.alloc(bytes)]));
    return file;
  }
  const hubDinov2 = (width: number) => ({
    cls_token: [1, 1, width],
    pos_embed: [1, 5, width],
    'patch_embed.proj.weight': [width, 3, 2, 2],
    'blocks.0.ls1.gamma': [width],
    'blocks.0.mlp.fc2.weight': [width, 4],
  });
  const visualClip = (width: number) => ({
    class_embedding: [width],
    positional_embedding: [5, width],
    'conv1.weight': [width, 3, 2, 2],
    'transformer.resblocks.0.mlp.c_fc.weight': [4, width],
    proj: [width, 4],
  });
  const shapes: [name: string, tensors: Record<string, number[]>, code: string, message: RegExp][] = [
    ['a DINOv2 of width 32 without a config', hubDinov2(32), 'unsupported_model', /heads that divides the width 32, found 0\.5/],
    ['a CLIP of width 32 without a config', visualClip(32), 'unsupported_model', /heads that divides the width 32, found 0\.5/],
    ['a DINOv2 of width 0', hubDinov2(0), 'unsupported_model', /found 0/],
    ['a CLIP of width 0', visualClip(0), 'unsupported_model', /found 0/],
    ['a million layers', { ...hubDinov2(64), 'blocks.999999.x': [1] }, 'unsupported_model', /layers from 1 to 1000 .* found 1000000/],
    [
      '10^20 layers',
      { ...visualClip(64), 'transformer.resblocks.99999999999999999999.x': [1] },
      'unsupported_model',
      /layers from 1 to 1000/,
    ],
    ['layers of other names', { ...visualClip(64), 'transformer.resblocks.x.y': [1] }, 'bad_weights', /unexpected .*resblocks\.x\.y/],
    ['a flat convolution', { ...visualClip(64), 'conv1.weight': [64] }, 'bad_weights', /4 dimensions of conv1\.weight .* found \[64\]/],
    ['flat positions', { ...hubDinov2(64), pos_embed: [1] }, 'bad_weights', /3 dimensions of pos_embed/],
    ['no positions', { ...visualClip(64), positional_embedding: [1, 64] }, 'unsupported_model', /image size .* found 0/],
    ['patches of no pixels', { ...visualClip(64), 'conv1.weight': [64, 3, 2, 0] }, 'unsupported_model', /patch size .* found 0/],
  ];
  for (const [name, tensors, code, message] of shapes) {
    it(`${name}: is refused`, async () => {
      const error = await failure(openWeights(shaped(name.replaceAll(/\W/g, '-'), tensors)));
      expect(error.code, error.message).to.equal(code);
      expect(error.message).to.match(message);
    });
  }

  const llava: [change: Json, code: string, message: RegExp][] = [
    [{ num_attention_heads: 0 }, 'bad_config', /positive number for num_attention_heads/],
    [{ num_attention_heads: 0.5, num_key_value_heads: null }, 'bad_config', /integer for num_attention_heads/],
    [{ num_attention_heads: 3, num_key_value_heads: 3 }, 'unsupported_model', /heads that divides the width 16, found 3/],
    [{ num_attention_heads: 16, num_key_value_heads: 16 }, 'unsupported_model', /heads of an even width .* found 16 cut into 16/],
    [{ num_hidden_layers: 1e6 }, 'unsupported_model', /layers from 1 to 1000 .* found 1000000/],
    [{ vocab_size: 1e12 }, 'unsupported_model', /vocabulary from 1 to 16777216/],
    [{ intermediate_size: 1e9 }, 'unsupported_model', /width of the MLP/],
    [{ hidden_size: 1e9, num_attention_heads: 1e9, num_key_value_heads: 1e9 }, 'unsupported_model', /width from 1 to 65536/],
    [{ rms_norm_eps: -1 }, 'bad_config', /rms_norm_eps/],
    [{ rope_theta: 'a' }, 'bad_config', /rope_theta/],
  ];
  for (const [change, code, message] of llava) {
    it(`${JSON.stringify(change)} in config.json of a LLaVA: is refused`, async () => {
      const error = await failure(openLlava(changed(work, 'original', change)));
      expect(error.code, error.message).to.equal(code);
      expect(error.message).to.match(message);
    });
  }

  it("a LLaVA's own tower is held to the same", async () => {
    const config = JSON.parse(readFileSync(golden('hf-newest/config.json'), 'utf8')) as { vision_config: Json };
    const tower = (change: Json) => openLlava(changed(work, 'hf-newest', { vision_config: { ...config.vision_config, ...change } }));
    expect(await failure(tower({ layer_norm_eps: 1e-6 }))).to.include({ code: 'unsupported_model' });
    expect(await failure(tower({ num_attention_heads: 0 }))).to.include({ code: 'bad_config' });
    expect((await failure(openLlava(changed(work, 'hf-newest', { image_token_id: 1.5, image_token_index: 1.5 })))).message).to.match(
      /integer for image_token_id/,
    );
  });
});
