import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeConversationScenes } from '../../lib/demo/questions.js';
import { drawScene, renderScene } from '../../lib/demo/scenes.js';
import { finetune, type Llava, openLlava } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';

const root = packageRoot();
const model = join(root, 'configs/demo/llava');
const question = 'How many shapes are there?';

describe('an open LLaVA', () => {
  let work: string;
  let adapter: string;
  let llava: Llava;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-llava-'));
    await writeConversationScenes(work, { train: 16, heldOut: 1, seed: 3, size: 64 });
    await writeFile(join(work, 'scene.jpg'), await renderScene(drawScene(2, 0), 100));
    const run = finetune({
      model,
      data: join(work, 'train.json'),
      out: join(work, 'run'),
      rank: 8,
      alpha: 16,
      lr: 5e-3,
      projectorLr: 5e-3,
      microBatch: 4,
      gradAccum: 1,
      epochs: 4,
      precision: 'fp32',
      maxLength: 256,
      dropout: 0,
    });
    adapter = (await run.result).exports[0]!.path;
    llava = await openLlava(model, { adapter, precision: 'fp32' });
  });
  after(async () => {
    await llava.close();
    rmSync(work, { recursive: true, force: true });
  });

  async function ask(of: Llava, request: Parameters<Llava['generate']>[0]): Promise<string> {
    let text = '';
    for await (const piece of of.generate(request)) text += piece;
    return text;
  }
  const image = () => join(work, 'scene.jpg');
  const program = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, 'dist/lib/cli/kuea-lora.cjs'), ...args], { encoding: 'utf8' });

  it('answers about an image by path or bytes, and without one', async () => {
    const answer = await ask(llava, { question, image: image() });
    expect(answer).to.match(/^\d$/);
    expect(await ask(llava, { question, image: readFileSync(image()) })).to.equal(answer);
    expect(await ask(llava, { question: `${question}\n<image>`, image: image() })).to.equal(answer);
    expect(await ask(llava, { question })).to.match(/^\w*$/);
  });

  it('takes one question at a time, whatever order they are read in', async () => {
    const other = 'What colour are the circles?';
    const alone = [await ask(llava, { question, image: image() }), await ask(llava, { question: other, image: image() })];
    expect(await Promise.all([ask(llava, { question, image: image() }), ask(llava, { question: other, image: image() })])).to.deep.equal(
      alone,
    );
    // One that is left halfway lets the next begin.
    for await (const _ of llava.generate({ question, image: image() })) break;
    expect(await ask(llava, { question, image: image() })).to.equal(alone[0]);
  });

  it('stops after maxNewTokens, and when it is aborted', async () => {
    expect((await ask(llava, { question: 'shapes '.repeat(4), image: image(), maxNewTokens: 1 })).trim().split(/\s+/)).to.have.length(1);
    const error = await ask(llava, { question, image: image(), signal: AbortSignal.abort(new Error('enough')) }).catch((e: unknown) => e);
    expect(error).to.have.property('message', 'enough');
  });

  it('says what is wrong with an image, a question, an option', async () => {
    const code = async (request: Parameters<Llava['generate']>[0]) => ask(llava, request).catch((error: { code: string }) => error.code);
    expect(await code({ question, image: join(work, 'train.json') })).to.equal('undecodable_image');
    expect(await code({ question: '<image> or <image>?', image: image() })).to.equal('bad_prompt');
    expect(await code({ question, maxNewTokens: 0 })).to.equal('bad_option');
    // And goes on.
    expect(await ask(llava, { question, image: image() })).to.match(/^\d$/);
  });

  it('answers alike merged, in either layout, from the command line', async () => {
    const expected = await ask(llava, { question, image: image() });
    for (const to of ['original', 'hf']) {
      const out = join(work, `merged-${to}`);
      const merged = program('merge', '--model', model, '--adapter', adapter, '--to', to, '--out', out);
      expect(merged.status, merged.stderr).to.equal(0);
      expect(merged.stdout).to.equal(`wrote ${out}\n`);
      const { status, stdout, stderr } = program('chat', '--model', out, '--image', image(), '--precision', 'fp32', question);
      expect(status, stderr).to.equal(0);
      expect(stdout).to.equal(`${expected}\n`);
    }
    expect(program('chat', '--model', model, '--adapter', adapter, '--image', image(), '--precision', 'fp32', question).stdout).to.equal(
      `${expected}\n`,
    );
    expect(program('chat', '--model', model).stderr).to.match(/^kuea-lora: missing required argument 'question' \(see --help\)\n$/);
    expect(
      program('merge', '--model', model, '--adapter', join(work, 'images'), '--to', 'hf', '--out', join(work, 'none')).stderr,
    ).to.match(/^kuea-lora: expected adapter_config.json in .*\n$/);
  });
});
