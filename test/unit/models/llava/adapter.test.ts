import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { buildHeader, readSafetensors } from '../../../../lib/files/safetensors.js';
import { toBytes } from '../../../../lib/files/tensors.js';
import { readTorchFile } from '../../../../lib/files/torch-file.js';
import { writeTorchFile } from '../../../../lib/files/torch-writer.js';
import { openAdapter } from '../../../../lib/models/llava/adapter.js';
import { type LlavaWeights, type OpenLlavaOptions, openLlava } from '../../../../lib/models/llava/open.js';
import { writeAdapter } from '../../../../lib/models/llava/write-adapter.js';
import type { Json } from '../../../../lib/models/model-folder.js';
import type { NativeLoraTrainer, TensorBytes } from '../../../../lib/native/addon.js';
import { loadAddon } from '../../../../lib/native/load.js';
import { bytesOf, changed, expected, failure, golden, hashes, manifest } from './support.js';

const { rank, alpha } = manifest;

/** A trainer whose parameters are tensors of files, for the addon to write. */
function trainerOf(sources: Map<string, TensorBytes>): Pick<NativeLoraTrainer, 'parameters' | 'write'> {
  return {
    parameters: Array.from(sources, ([name, { shape }]) => ({ name, shape })),
    write: (file, header, steps) =>
      loadAddon().writeTensors(
        file,
        header,
        steps.map((step) => ('parameter' in step ? { source: sources.get(step.parameter)! } : step)),
      ),
  };
}

const trainedSources = ({ adapter, model }: LlavaWeights) =>
  new Map(
    [...adapter!.weights, ...model.weights.filter(({ parameter }) => parameter.startsWith('model.mm_projector.'))].map(
      ({ parameter, source }) => [parameter, source],
    ),
  );

describe('LoRA adapters on disk', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-adapter-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  const adapters = ['adapter-original', 'adapter-original-bin', 'adapter-hf-old', 'adapter-hf-new'];
  for (const name of adapters) {
    it(`${name}: the same numbers on a base of either layout`, async () => {
      for (const base of ['original', 'hf-newest']) {
        const { adapter, model } = await openLlava(golden(base), { adapter: golden(name) });
        expect(adapter).to.include({ rank, alpha, dropout: 0.05, trainedOn: null });
        expect(hashes(adapter!.weights)).to.deep.equal(manifest.lora);
        const projector = name === 'adapter-original' ? manifest.projector : {};
        expect(hashes(model.weights)).to.deep.equal({
          ...expected(base === 'original' ? manifest.vocabulary : manifest.rows),
          ...projector,
        });
      }
    });
  }

  it('bring a LLaMA its projector and the name of its tower', async () => {
    const folder = changed(work, 'vicuna', {});
    rmSync(join(folder, 'mm_projector.bin'));
    const { model, image, tower } = await openLlava(folder, { adapter: golden('adapter-original') });
    expect(hashes(model.weights)).to.deep.equal({ ...expected(manifest.vocabulary), ...manifest.projector });
    expect([image.aspect, tower.ref]).to.deep.equal(['pad', join(folder, '../tower-hf')]);
  });

  const refusals: [change: Json, code: string, expected: RegExp][] = [
    [{ use_dora: true }, 'unsupported_adapter', /found use_dora true in its adapter_config\.json/],
    [{ use_rslora: true }, 'unsupported_adapter', /use_rslora true/],
    [{ alpha_pattern: { q_proj: 3 } }, 'unsupported_adapter', /alpha_pattern {"q_proj":3}/],
    [{ rank_pattern: { q_proj: 3 } }, 'unsupported_adapter', /rank_pattern/],
    [{ modules_to_save: ['lm_head'] }, 'unsupported_adapter', /modules_to_save \["lm_head"\]/],
    [{ lora_bias: true }, 'unsupported_adapter', /lora_bias true/],
    [{ bias: 'all' }, 'unsupported_adapter', /bias "all"/],
    [{ fan_in_fan_out: true }, 'unsupported_adapter', /fan_in_fan_out true/],
    [{ init_lora_weights: 'pissa' }, 'unsupported_adapter', /init_lora_weights "pissa"/],
    [{ peft_type: 'LOHA' }, 'unsupported_adapter', /peft_type "LOHA"/],
    [{ r: undefined }, 'unsupported_adapter', /r missing/],
    [{ target_modules: ['q_proj', 'fc1'] }, 'bad_adapter', /target_modules among .* found fc1/],
    [{ r: 3 }, 'bad_weights', /misshapen base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight \[2, 16\] where \[3, 16\]/],
  ];
  for (const [change, code, message] of refusals) {
    it(`are refused with ${Object.entries(change)
      .map(([key, value]) => `${key} ${JSON.stringify(value)}`)
      .join()}`, async () => {
      const refused = await failure(
        openLlava(golden('original'), { adapter: changed(work, 'adapter-original', change, 'adapter_config.json') }),
      );
      expect(refused.code).to.equal(code);
      expect(refused.message).to.match(message);
    });
  }

  it('may say more than we know', async () => {
    const folder = changed(
      work,
      'adapter-original',
      { invented_config: { a: 1 }, target_modules: '.*proj', modules_to_save: [], use_dora: null },
      'adapter_config.json',
    );
    expect((await openAdapter(folder)).rank).to.equal(rank);
  });

  /** The golden with its tensors renamed; null takes one out. */
  async function renamed(rename: (name: string) => string | null): Promise<string> {
    const folder = changed(work, 'adapter-hf-old', {}, 'adapter_config.json');
    const { tensors } = await readSafetensors(golden('adapter-hf-old/adapter_model.safetensors'));
    const kept = Array.from(tensors, ([name, tensor]) => ({ name: rename(name), source: toBytes(name, tensor) })).filter(
      (t): t is { name: string; source: TensorBytes } => t.name !== null,
    );
    const header = buildHeader(kept.map(({ name, source: { shape } }) => ({ name, dtype: 'F32', shape })));
    writeFileSync(join(folder, 'adapter_model.safetensors'), Buffer.concat([header, ...kept.map(({ source }) => bytesOf(source))]));
    return folder;
  }

  it('of which a tensor binds to nothing, or is missing, are an error that names it', async () => {
    const open = async (rename: (name: string) => string | null) =>
      failure(openLlava(golden('hf-old'), { adapter: await renamed(rename) }));
    const q = 'layers.1.self_attn.q_proj';
    expect(await open((name) => name.replace(q, 'layers.7.self_attn.q_proj')))
      .to.include({ code: 'bad_weights' })
      .and.property('message')
      .match(/missing base_model\.model\.language_model\..*\.1\.self_attn\.q_proj\.lora_A\.weight, .*; unexpected .*layers\.7\.self_attn/);
    expect((await open((name) => (name.includes(`${q}.lora_B`) ? null : name))).message).to.match(
      /missing base_model\.model\.language_model\.model\.layers\.1\.self_attn\.q_proj\.lora_B\.weight$/,
    );
    expect((await open((name) => name.replace('lora_A.weight', 'lora_A.default.weight'))).message).to.match(
      /unexpected .*lora_A\.default\.weight/,
    );
    expect((await open((name) => name.replace('base_model.model.', ''))).message).to.match(
      /expected PEFT's names .* found language_model\.model\.layers/,
    );
    // What other tools train by mistake.
    const vision = await renamed((name) =>
      name.replace(`language_model.model.${q}`, 'vision_tower.vision_model.encoder.layers.1.self_attn.q_proj'),
    );
    expect((await failure(openLlava(golden('hf-old'), { adapter: vision }))).message).to.match(
      /unexpected base_model\.model\.vision_tower/,
    );
  });

  it('that are not there, or in part, are an error', async () => {
    const open = (adapter: string) => failure(openLlava(golden('original'), { adapter }));
    expect(await open(join(work, 'gone'))).to.include({ code: 'adapter_not_found' });
    const folder = join(work, 'partial');
    cpSync(golden('adapter-original'), folder, { recursive: true });
    const file = join(folder, 'non_lora_trainables.bin');
    const whole = readFileSync(file);
    writeFileSync(file, whole.subarray(0, whole.length - 100));
    expect((await open(folder)).code).to.be.oneOf(['bad_archive', 'bad_pickle']);
    await writeTorchFile(file, [
      { name: 'base_model.model.lm_head.weight', source: (await openLlava(golden('original'))).model.weights.at(-1)!.source },
    ]);
    expect((await open(folder)).message).to.match(
      /the projector of .*partial .* missing model\.mm_projector\.0\.weight.*unexpected base_model\.model\.lm_head\.weight/,
    );
    rmSync(join(folder, 'adapter_model.safetensors'));
    expect((await open(folder)).message).to.match(/expected adapter_model\.safetensors or adapter_model\.bin in .*partial/);
    rmSync(join(folder, 'adapter_config.json'));
    expect((await open(folder)).message).to.match(/expected adapter_config\.json in .*partial/);
  });

  for (const [base, keys] of [
    ['original', 'base_model.model.model.layers.'],
    ['hf-old', 'base_model.model.model.language_model.layers.'],
  ] as const) {
    it(`are written as peft writes them for a base in the layout ${base}`, async () => {
      const llava = await openLlava(golden(base), { adapter: golden('adapter-original') });
      const out = join(work, `out-${base}`);
      await writeAdapter(trainerOf(trainedSources(llava)), out, { llava, rank, alpha, dropout: 0.05 });
      expect(readdirSync(out).sort()).to.deep.equal([
        'adapter_config.json',
        'adapter_model.safetensors',
        'config.json',
        'non_lora_trainables.bin',
        'non_lora_trainables.safetensors',
      ]);

      const theirs = base === 'original' ? 'adapter-original' : 'adapter-hf-new';
      const [written, peft] = await Promise.all(
        [out, golden(theirs)].map((folder) => readSafetensors(join(folder, 'adapter_model.safetensors'))),
      );
      const [lora, saved] = [true, false].map((isLora) =>
        Array.from(written!.tensors)
          .filter(([name]) => name.includes('.lora_') === isLora)
          .map(([name, { shape }]) => [name, shape] as const),
      );
      expect(lora!.map(([name]) => name).sort()).to.deep.equal([...peft!.tensors.keys()].sort());
      expect(lora!.every(([name]) => name.startsWith(keys))).to.equal(true);
      // What peft wraps for modules_to_save, and where it looks for it: transformers' own names of the projector, as it has them in memory.
      const inMemory = (await readSafetensors(golden('hf-new/model.safetensors'))).tensors;
      const theirProjector = Array.from(inMemory)
        .filter(([name]) => name.startsWith('model.multi_modal_projector.'))
        .map(([name, { shape }]) => [`base_model.model.${name}`, shape] as const);
      expect(theirProjector).to.have.length(4);
      expect(saved!.sort()).to.deep.equal(base === 'original' ? [] : theirProjector.sort());
      expect(written!.metadata).to.include({ format: 'pt' });

      const config = JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8')) as Json;
      const theirConfig = JSON.parse(readFileSync(golden(`${theirs}/adapter_config.json`), 'utf8')) as Json;
      expect(theirConfig).to.include.keys(Object.keys(config));
      expect(config['modules_to_save']).to.deep.equal(base === 'original' ? null : ['multi_modal_projector']);
      const rule = new RegExp(`^(?:${config['target_modules'] as string})$`);
      const modules = Array.from(peft!.tensors.keys(), (name) => name.replace('base_model.model.', '').replace(/\.lora_[AB]\.weight$/, ''));
      expect(modules.every((module) => rule.test(module))).to.equal(true);
      expect(rule.test('model.vision_tower.encoder.layers.0.self_attn.q_proj') || rule.test('lm_head')).to.equal(false);

      const back = await openLlava(golden(base), { adapter: out });
      expect(back.adapter).to.deep.include({ rank, alpha, dropout: 0.05, base: golden(base), trainedOn: llava.trainedOn });
      expect(hashes(back.adapter!.weights)).to.deep.equal(manifest.lora);
      const projector = (plan: LlavaWeights['model']['weights']) =>
        hashes(plan.filter(({ parameter }) => parameter.includes('mm_projector')));
      expect(projector(back.model.weights)).to.deep.equal(manifest.projector);
      rmSync(join(out, 'non_lora_trainables.safetensors'));
      expect(projector((await openLlava(golden(base), { adapter: out })).model.weights), 'from the .bin').to.deep.equal(manifest.projector);
      if (base !== 'original') {
        rmSync(join(out, 'non_lora_trainables.bin'));
        expect(projector((await openLlava(golden(base), { adapter: out })).model.weights), "from peft's").to.deep.equal(manifest.projector);
      }
      expect(await failure(writeAdapter(trainerOf(trainedSources(llava)), out, { llava, rank, alpha, dropout: 0 }))).to.include({
        code: 'exists',
      });
    });
  }

  it('say what they were trained on, and nothing else is taken unless asked', async () => {
    const llava = await openLlava(golden('original'), { adapter: golden('adapter-original'), feature: 'ln_post' });
    const lora = new Map([...trainedSources(llava)].filter(([name]) => name.includes('lora_')));
    const adapter = join(work, 'own');
    await writeAdapter(trainerOf(lora), adapter, { llava, rank, alpha, dropout: 0 });
    const open = (base: string, options: OpenLlavaOptions = {}) => openLlava(base, { adapter, ...options });

    const again = await open(golden('original'));
    expect([again.model.feature, hashes(again.adapter!.weights)]).to.deep.equal(['ln_post', manifest.lora]);
    // The frozen projector is written too, so a LLaMA will do as the base.
    expect(hashes((await open(golden('vicuna'))).model.weights)).to.include(manifest.projector);
    expect(await failure(open(golden('original'), { feature: 'hidden' }))).to.include({ code: 'feature_mismatch' });

    const other = changed(work, 'hf-new', {});
    const bytes = readFileSync(join(other, 'model.safetensors'));
    const step = (await openLlava(other)).model.weights.find(({ parameter }) => parameter === 'model.layers.1.mlp.up_proj.weight')!;
    bytes[step.source.offset]! ^= 1;
    writeFileSync(join(other, 'model.safetensors'), bytes);
    const wrong = await failure(open(other));
    expect(wrong.code).to.equal('wrong_base');
    const prints = [llava.trainedOn.language, (await openLlava(other)).trainedOn.language].map((print) => print.slice(0, 16));
    expect(wrong.message).to.match(
      new RegExp(
        `language model .* ${golden('original')} \\(fingerprint ${prints[0]}\\), found another in ${other} \\(${prints[1]}\\).*--any-base`,
      ),
    );
    expect((await open(other, { anyBase: true })).ref).to.equal(other);

    const tower = join(other, '../tower-hf/model.safetensors');
    const blurred = readFileSync(tower);
    blurred[(await readSafetensors(tower)).tensors.get('encoder.layers.0.mlp.fc1.weight')!.offset]! ^= 1;
    writeFileSync(tower, blurred);
    expect((await failure(open(golden('original'), { visionTower: join(tower, '..') }))).message).to.match(
      /vision tower that the adapter .* was trained on, .*tower-hf \(fingerprint/,
    );
  });

  it("remember their tower's activation, where its file does not say it", async () => {
    const tower = { visionTower: golden('tower-visual/final.pt') };
    const llava = await openLlava(golden('original'), { adapter: golden('adapter-original'), ...tower, activation: 'gelu' });
    const adapter = join(work, 'gelu');
    await writeAdapter(trainerOf(trainedSources(llava)), adapter, { llava, rank, alpha, dropout: 0 });
    expect((await openLlava(golden('original'), { adapter })).tower.arch.activation).to.equal('gelu');
    expect((await openLlava(golden('original'), { adapter, ...tower })).tower.arch.activation).to.equal('gelu');
    expect(await failure(openLlava(golden('original'), { adapter, activation: 'quick_gelu' })))
      .to.include({ code: 'activation_mismatch' })
      .and.property('message')
      .match(/expected --activation gelu, with which the adapter .*gelu was trained, found quick_gelu: leave --activation out/);
    const other = { adapter, visionTower: golden('tower-hf') };
    expect((await failure(openLlava(golden('original'), other))).message).to.match(
      /expected a tower with the activation gelu, with which the adapter .* was trained, found another in .*tower-hf/,
    );
    expect((await openLlava(golden('original'), { ...other, anyBase: true })).tower.arch.activation).to.equal('quick_gelu');
  });

  it('are not the folder of the run that made them, and the error names theirs', async () => {
    const out = join(work, 'run');
    const adapter = join(out, 'checkpoints/step-000003/adapter');
    cpSync(golden('adapter-original'), adapter, { recursive: true });
    writeFileSync(join(out, 'config.yaml'), 'model: x\n');
    writeFileSync(join(out, 'latest'), 'checkpoints/step-000003\n');
    const open = async (folder: string) => (await failure(openAdapter(folder))).message;
    expect(await open(out)).to.match(/found a run of kuea-lora in .*run: name .*run\/checkpoints\/step-000003\/adapter, which it made$/);
    expect(await open(join(adapter, '..'))).to.match(/name .*step-000003\/adapter, which it made$/);
    cpSync(adapter, join(out, 'export'), { recursive: true });
    expect(await open(out)).to.match(/name .*run\/export, which it made$/);
  });

  it('and LLaVA trainables: what torch writes and what we write say the same', async () => {
    const theirs = (await readTorchFile(golden('adapter-original/non_lora_trainables.bin'))).tensors;
    mkdirSync(join(work, 'torch'));
    const file = join(work, 'torch/ours.bin');
    await writeTorchFile(
      file,
      Array.from(theirs, ([name, tensor]) => ({ name, source: toBytes(name, tensor) })),
    );
    const ours = (await readTorchFile(file)).tensors;
    expect([...ours.keys()]).to.deep.equal([...theirs.keys()]);
    for (const [name, tensor] of ours) {
      expect([tensor.dtype, tensor.shape, tensor.offset % 64]).to.deep.equal([theirs.get(name)!.dtype, theirs.get(name)!.shape, 0]);
      expect(bytesOf(toBytes(name, tensor)).equals(bytesOf(toBytes(name, theirs.get(name)!)))).to.equal(true);
    }
    const source = { ...toBytes('x', [...theirs.values()][0]!), shape: [1 << 20, 1100] };
    expect(await failure(writeTorchFile(join(work, 'torch/huge.bin'), [{ name: 'x', source }]))).to.include({ code: 'too_large' });
    expect(
      (await failure(writeTorchFile(join(work, 'torch/short.bin'), [{ name: 'x', source: { ...source, shape: [1 << 20] } }]))).message,
    ).to.match(/found its end/);
  });
});
