import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeConversationScenes } from '../../lib/demo/questions.js';
import { drawScene, renderScene } from '../../lib/demo/scenes.js';
import { finetune, KueaError, type Llava, openLlava } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';
import { openTokenizer } from '../../lib/text/tokenizer.js';
import { encodePrompt } from '../../lib/text/vicuna.js';
import { failure } from '../unit/data/images/support.js';

const root = packageRoot();
const model = join(root, 'configs/demo/llava');
const question = 'How many shapes are there?';

/** A copy of the model that takes its end of text for text. */
function withoutEnd(folder: string): string {
  cpSync(model, folder, { recursive: true });
  const edit = (name: string, change: (json: { added_tokens: { content: string; special: boolean }[] }) => object) =>
    writeFileSync(join(folder, name), JSON.stringify(change(JSON.parse(readFileSync(join(folder, name), 'utf8')))));
  edit('tokenizer_config.json', (config) => ({ ...config, eos_token: '<unk>' }));
  edit('tokenizer.json', (json) => ({
    ...json,
    added_tokens: json.added_tokens.map((token) => (token.content === '</s>' ? { ...token, special: false } : token)),
  }));
  return folder;
}

describe('an open LLaVA', () => {
  let work: string;
  let adapter: string;
  let llava: Llava;
  /** Answers until it may not go on. */
  let talker: Llava;
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
    talker = await openLlava(withoutEnd(join(work, 'talker')), { precision: 'fp32', visionTower: join(root, 'configs/demo/clip') });
  });
  after(async () => {
    await llava.close();
    await talker.close();
    rmSync(work, { recursive: true, force: true });
  });

  /** What a question becomes, without an image. */
  const tokensOf = async (asked: string) => encodePrompt(await openTokenizer(join(work, 'talker')), asked, { image: false });

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
    expect(await ask(llava, { question })).to.match(/^\d$/);
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

  it('is not held up by a reader that stops reading, and keeps the rest for it', async () => {
    const whole = await ask(talker, { question, maxNewTokens: 20 });
    const idle = talker.generate({ question, maxNewTokens: 20 });
    let text = (await idle.next()).value as string;
    expect(await ask(talker, { question, maxNewTokens: 20 })).to.equal(whole);
    for await (const piece of idle) text += piece;
    expect(text).to.equal(whole);
  });

  it('ends an answer at once when it is aborted, and takes the next question', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const aborted = talker.generate({ question, signal: controller.signal });
    await aborted.next();
    // One waits for a token, and one for its turn.
    const waiting = [aborted.next()];
    while ((await Promise.race([waiting.at(-1)!, 'pending'])) !== 'pending') waiting.push(aborted.next());
    const queued = talker.generate({ question, signal: controller.signal }).next();
    controller.abort(reason);
    const first = await Promise.allSettled([waiting.at(-1)!, queued]);
    expect(first).to.deep.equal([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ]);
    expect(await ask(talker, { question, maxNewTokens: 1 })).to.not.equal('');
  });

  it('lets go of an answer that is aborted while nobody reads it', async () => {
    const controller = new AbortController();
    const idle = talker.generate({ question, signal: controller.signal });
    await idle.next();
    controller.abort(new Error('enough'));
    expect(await ask(talker, { question, maxNewTokens: 1 })).to.not.equal('');
    expect(await idle.next().catch((error: Error) => error.message)).to.equal('enough');
    expect(await idle.next()).to.deep.equal({ value: undefined, done: true });
  });

  it("ends an answer where the model's context ends, and refuses a question that fills it", async () => {
    const words = (count: number) => 'shapes '.repeat(count);
    const overhead = (await tokensOf(words(1))).length - 1;
    const context = 256;
    const asked = (room: number) => words(context - overhead - room);
    for (const room of [1, 3]) {
      const { code } = await failure(ask(talker, { question: asked(0) }));
      expect(code).to.equal('bad_prompt');
      const [free, limited] = [
        await ask(talker, { question: asked(room) }),
        await ask(talker, { question: asked(room), maxNewTokens: room }),
      ];
      expect(free).to.equal(limited).and.not.equal('');
    }
    const { message } = await failure(ask(talker, { question: words(300), image: image() }));
    expect(message).to.match(/^expected a question of fewer tokens than the model's context of 256, found \d+, \d+ of them the image's: /);
  });

  it('closes when the answers under way are made, and takes no more questions', async () => {
    const closing = await openLlava(withoutEnd(join(work, 'closing')), { precision: 'fp32', visionTower: join(root, 'configs/demo/clip') });
    const expected = await ask(talker, { question, maxNewTokens: 20 });
    const log: string[] = [];
    const answers = [1, 2].map(async () => {
      expect(await ask(closing, { question, maxNewTokens: 20 })).to.equal(expected);
      log.push('answered');
    });
    const idle = closing.generate({ question, maxNewTokens: 20 });
    await idle.next();
    const closed = closing.close().then(() => log.push('closed'));
    expect((await failure(ask(closing, { question }))).code).to.equal('closed');
    await Promise.all([...answers, closed, closing.close()]);
    expect(log).to.deep.equal(['answered', 'answered', 'closed']);
    let rest = '';
    for await (const piece of idle) rest += piece;
    expect(expected.endsWith(rest)).to.equal(true);
  });

  it('says what is wrong with an image, a question, an option', async () => {
    const refusal = async (request: object) => {
      const { code, message } = await failure(ask(llava, request as Parameters<Llava['generate']>[0]));
      return `${code}: ${message}`;
    };
    expect(await refusal({ question, image: join(work, 'train.json') })).to.match(/^undecodable_image: .*train\.json: expected an image/);
    expect(await refusal({ question, image: join(work, 'none.jpg') })).to.match(/^undecodable_image: .*none\.jpg: .*found no such file$/);
    expect(await refusal({ question, image: Buffer.from('text') })).to.match(/^undecodable_image: the image: /);
    expect(await refusal({ question: '<image> or <image>?', image: image() })).to.match(/^bad_prompt: /);
    for (const empty of [{ question: '' }, { question: ' \n' }, { question: '<image>\n', image: image() }])
      expect(await refusal(empty)).to.match(/^bad_prompt: expected a question, found /);
    expect(await refusal({ question, maxNewTokens: 0 })).to.match(/^bad_option: .*maxNewTokens/);
    expect(await refusal({ question: undefined })).to.equal('missing_option: question is missing: what to ask');
    expect(await refusal({ question: 5 })).to.match(/^bad_option: .*question, found 5$/);
    expect(await refusal({ question, image: null })).to.match(/^bad_option: .*image, found null$/);
    expect(await refusal({ question, image: new URL('file:///a.jpg') })).to.match(/^bad_option: .*image, found a URL/);
    expect(await refusal({ question, signal: {} })).to.match(/^bad_option: .*AbortSignal.*signal/);
    expect(await refusal({ question, maxTokens: 5 })).to.match(/^unknown_option: .*did you mean maxNewTokens\?/);
    expect(() => llava.generate(null as never)).to.throw(KueaError, 'expected an object of options, found null');
    // And goes on.
    expect(await ask(llava, { question, image: image() })).to.match(/^\d$/);
  });

  it('says what is wrong with how it is opened', async () => {
    const refusal = async (ref: unknown, options: object = {}) => {
      const { code, message } = await failure(openLlava(ref as string, options));
      return `${code}: ${message}`;
    };
    expect(await refusal(undefined)).to.match(/^bad_option: expected a model's folder/);
    expect(await refusal(model, { bogus: 1 })).to.match(/^unknown_option: unknown option bogus/);
    expect(await refusal(model, { basePrecision: 'int8' })).to.match(/^bad_option: .*basePrecision, found "int8"$/);
    expect(await refusal(model, { anyBase: 'yes' })).to.match(/^bad_option: .*anyBase, found "yes"$/);
    const small = await openLlava(model, { maxPixels: 100, precision: 'fp32' });
    expect((await failure(ask(small, { question, image: image() }))).message).to.match(/found one of 100 x 100 pixels, more than 100, /);
    await small.close();
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
    expect(program('chat', '--model', model, '--image', 'none.jpg', question).stderr).to.match(
      /^kuea-lora: expected an image at none\.jpg, found no file there\n$/,
    );
    expect(program('chat', '--model', model).stderr).to.match(/^kuea-lora: missing required argument 'question' \(see --help\)\n$/);
    expect(
      program('merge', '--model', model, '--adapter', join(work, 'images'), '--to', 'hf', '--out', join(work, 'none')).stderr,
    ).to.match(/^kuea-lora: expected adapter_config.json in .*\n$/);
  });
});
