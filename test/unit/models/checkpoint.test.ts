import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { expect } from 'chai';

import { openEncoder } from '../../../lib/embed/encoder.js';
import { buildHeader, readSafetensors } from '../../../lib/files/safetensors.js';
import { convert } from '../../../lib/models/convert.js';
import { openWeights, type WeightsFile } from '../../../lib/models/open.js';
import type { NativeTrainer, WriteStep } from '../../../lib/native/addon.js';
import { loadAddon } from '../../../lib/native/load.js';
import { packageRoot } from '../../../lib/package.js';
import { writeTrainerState } from '../../../lib/run/trainer-state.js';
import { failure } from './llava/support.js';

const root = packageRoot();
const demo = join(root, 'configs/demo/clip');
const scene = join(root, 'test/golden/demo/scene-000000.jpg');

/** A run's folder whose newest checkpoint has the weights of `from`, as kuea-align writes it, or as 0.1 did. */
async function run(out: string, from: WeightsFile, student: string, version: '0.1' | 'now'): Promise<string> {
  const step = join(out, 'checkpoints', 'step-000020');
  mkdirSync(step, { recursive: true });
  const addon = loadAddon();
  const encoder = await addon.openEncoder({
    arch: from.arch,
    weights: from.plan,
    mean: from.mean,
    std: from.std,
    precision: 'fp32',
    device: 'cpu',
  });
  // The kernel's parameters and the moments are not the encoder's: any of its tensors will do for them.
  const scalar = encoder.parameters.find(({ name }) => name === 'class_embedding')!;
  const kernel = ['kernel.gamma', 'kernel.c', 'kernel.sigma'].map((name) => ({ name, shape: scalar.shape }));
  const known = (write: WriteStep): WriteStep =>
    'parameter' in write
      ? { ...write, state: 'value', parameter: write.parameter.startsWith('kernel.') ? scalar.name : write.parameter }
      : write;
  const trainer: Pick<NativeTrainer, 'parameters' | 'write' | 'restore'> = {
    parameters: [...encoder.parameters, ...kernel],
    write: (file, header, steps) => encoder.write(file, header, steps.map(known)),
    restore: async () => {},
  };
  await writeTrainerState(trainer, step, from);
  await encoder.close();
  if (version === '0.1') {
    const file = join(step, 'student.safetensors');
    const { tensors } = await readSafetensors(file);
    const data = readFileSync(file).subarray(Math.min(...Array.from(tensors.values(), ({ offset }) => offset)));
    writeFileSync(file, Buffer.concat([buildHeader(Array.from(tensors, ([name, { shape }]) => ({ name, dtype: 'F32', shape }))), data]));
  }
  writeFileSync(join(step, 'state.json'), '{"step": 20, "version": "0.1.0"}\n');
  writeFileSync(join(out, 'config.yaml'), `student: ${student}\nteacher: none\n`);
  writeFileSync(join(out, 'latest'), 'checkpoints/step-000020\n');
  return step;
}

describe('a checkpoint of kuea-align', () => {
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-checkpoint-'));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  /** The demo's CLIP, but for how its images are prepared and its heads, which no tensor shows. */
  function unusual(name: string): string {
    const folder = join(work, name);
    cpSync(demo, folder, { recursive: true });
    const edit = (file: string, change: (text: string) => string) =>
      writeFileSync(join(folder, file), change(readFileSync(join(folder, file), 'utf8')));
    edit('config.json', (text) =>
      text
        .replace(/("vision_config"[^}]*"hidden_act": )"quick_gelu"/, '$1"gelu"')
        .replace('"num_attention_heads": 2', '"num_attention_heads": 4'),
    );
    edit('preprocessor_config.json', (text) => text.replace('"shortest_edge": 64', '"shortest_edge": 80').replace('0.26862954', '0.5'));
    return folder;
  }

  async function embedding(ref: string): Promise<Float32Array> {
    await using encoder = await openEncoder(ref);
    return await encoder.encodeImages([scene]);
  }

  for (const version of ['now', '0.1'] as const) {
    it(`is a model, by its file, its folder and its run, as ${version === 'now' ? 'we write it' : '0.1 wrote it'}`, async () => {
      const student = unusual(`student-${version}`);
      const expected = await embedding(student);
      const out = join(work, `run-${version}`);
      const step = await run(out, await openWeights(student, { role: 'student' }), student, version);
      for (const ref of [step, join(step, 'student.safetensors'), out]) {
        const weights = await openWeights(ref, { role: 'student' });
        expect(weights.arch).to.include({ activation: 'gelu', heads: 4 });
        expect(weights.preprocessing).to.include({ resize: 80, crop: 64 });
        expect(await embedding(ref), ref).to.deep.equal(expected);
      }
      expect(await failure(openWeights(step, { role: 'teacher' }))).to.include({ code: 'wrong_family' });
      expect(await failure(openWeights(step, { activation: 'quick_gelu' }))).to.include({ code: 'activation_mismatch' });
    });
  }

  it('converts to a whole CLIP: text tower, tokenizer and config are those of what it was trained from', async () => {
    const student = unusual('origin');
    const step = await run(join(work, 'converted'), await openWeights(student), student, 'now');
    expect((await convert(loadAddon(), step, 'hf', join(work, 'hf'))).difference).to.equal(0);
    expect(readFileSync(join(work, 'hf/merges.txt'), 'utf8')).to.equal(readFileSync(join(demo, 'merges.txt'), 'utf8'));
    expect([...(await readSafetensors(join(work, 'hf/model.safetensors'))).tensors.keys()]).to.include('logit_scale');
    expect((await convert(loadAddon(), step, 'openai', join(work, 'openai.safetensors'))).difference).to.equal(0);
    expect((await openWeights(join(work, 'openai.safetensors'))).preprocessing).to.include({ resize: 80 });

    renameSync(student, `${student}-moved`);
    const gone = await failure(convert(loadAddon(), step, 'hf', join(work, 'hf-again')));
    expect(gone.code).to.equal('origin_not_found');
    expect(gone.message).to.include(resolve(student)).and.to.include('--to visual');
    expect((await convert(loadAddon(), step, 'visual', join(work, 'visual.safetensors'))).difference).to.equal(0);
    expect(await embedding(step), 'needs nothing else').to.deep.equal(await embedding(`${student}-moved`));
    cpSync(demo, student, { recursive: true });
    expect((await failure(convert(loadAddon(), step, 'hf', join(work, 'hf-again')))).message).to.match(
      /found a model of another activation/,
    );
  });

  for (const version of ['now', '0.1'] as const) {
    it(`embeds texts as what it was trained from, as long as that is there, as ${version} writes it`, async () => {
      const student = unusual(`texts-${version}`);
      const texts = async (ref: string) => {
        await using encoder = await openEncoder(ref);
        return [encoder.logitScale, await encoder.encodeTexts(['a red circle', 'a blue square'])];
      };
      const expected = await texts(student);
      const step = await run(join(work, `texts-run-${version}`), await openWeights(student), student, version);
      expect(await texts(step)).to.deep.equal(expected);
      if (version === '0.1') return;
      renameSync(student, `${student}-moved`);
      await using encoder = await openEncoder(step);
      expect(encoder.logitScale).to.equal(expected[0]);
      expect((await failure(encoder.encodeTexts(['a']))).code).to.equal('origin_not_found');
    });
  }

  it('of 0.1 says what it needs when that is not there', async () => {
    const student = unusual('lost');
    const step = await run(join(work, 'old'), await openWeights(student), student, '0.1');
    rmSync(student, { recursive: true });
    expect(await failure(openWeights(step)))
      .to.include({ code: 'weights_not_found' })
      .and.property('message')
      .match(/expected the model .*lost, which the checkpoint .* was trained from .*found nothing there: put it back/);
    writeFileSync(join(step, '../../config.yaml'), `student: ${step}\n`);
    expect(await failure(openWeights(step)))
      .to.include({ code: 'bad_checkpoint' })
      .and.property('message')
      .match(/found a checkpoint of 0\.1/);
    cpSync(step, join(work, 'alone'), { recursive: true });
    expect((await failure(openWeights(join(work, 'alone')))).message).to.match(
      /expected the config\.yaml of its run around the checkpoint/,
    );
  });

  it('of kuea-lora is none, and the error says what to name instead', async () => {
    const out = join(work, 'lora');
    const adapter = join(out, 'checkpoints/step-000002/adapter');
    cpSync(join(root, 'test/golden/llava-layouts/adapter-original'), adapter, { recursive: true });
    writeFileSync(join(out, 'config.yaml'), 'model: x\n');
    writeFileSync(join(out, 'latest'), 'checkpoints/step-000002\n');
    for (const ref of [out, join(adapter, '..')])
      expect((await failure(openWeights(ref))).message).to.match(/found what kuea-lora trained .*--adapter .*step-000002\/adapter$/);
    cpSync(adapter, join(out, 'export'), { recursive: true });
    expect((await failure(openWeights(out))).message).to.match(/--adapter .*lora\/export$/);
  });
});
