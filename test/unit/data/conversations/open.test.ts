import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import sharp from 'sharp';

import { prepareImage } from '../../../../lib/data/conversations/image.js';
import { openSamples, type SampleOptions } from '../../../../lib/data/conversations/open.js';
import { sceneTokenizer } from '../../../../lib/demo/questions.js';
import { TextTokenizer } from '../../../../lib/text/tokenizer.js';
import { encodeConversation } from '../../../../lib/text/vicuna.js';
import { withEnvironment } from '../../../environment.js';
import { FakeHub } from '../../../fake-hub.js';
import { failure, inFolder, write } from '../images/support.js';
import { safetensors } from './support.js';

const { tokenizer: json, config } = sceneTokenizer();
const tokenizer = new TextTokenizer(json, config, 'scenes');
const options: SampleOptions = { size: 28, aspect: 'pad', tokenizer, patches: 4, maxLength: 2048, missing: 'error', verifyImages: false };

const turns = (...values: string[]) => values.map((value, i) => ({ from: i % 2 === 0 ? 'human' : 'gpt', value }));
const good = {
  id: 'a',
  image: 'a.png',
  conversations: turns('<image>\nHow many shapes are there?', '3', 'Where is the red star?', 'top left'),
};
const text = { id: 'b', model: '', conversations: turns('How many shapes?', '2') };

async function inData<T>(records: unknown, f: (file: string, folder: string) => Promise<T>): Promise<T> {
  return inFolder(async (folder) => {
    const image = (width: number, height: number) =>
      sharp({ create: { width, height, channels: 3, background: '#102030' } })
        .png()
        .toBuffer();
    await write(folder, { 'data.json': JSON.stringify(records), 'a.png': await image(30, 20), 'sub/b.png': await image(9, 20) });
    return f(join(folder, 'data.json'), folder);
  });
}

describe('openSamples: conversations', () => {
  it('gives ids, labels and pixels of each record', async () => {
    await inData([good, text, { ...good, image: 'sub/b.png' }], async (file, folder) => {
      const source = await openSamples(file, options);
      expect([source.length, source.pixels, source.skipped]).to.deep.equal([3, 'u8', 0]);
      expect([...source.lengths]).to.deep.equal([14, -4, 14]);
      const { tokens, labels, copyPixels } = await source.read(0);
      const { ids, labels: expected } = encodeConversation(tokenizer, good.conversations, true);
      const place = ids.indexOf(-200);
      expect([...tokens]).to.deep.equal([...ids.slice(0, place), -200, -200, -200, -200, ...ids.slice(place + 1)]);
      expect([...labels]).to.deep.equal([...expected.slice(0, place), -100, -100, -100, -100, ...expected.slice(place + 1)]);
      const [target, pixels] = [new Uint8Array(3 * 28 * 28 + 7), new Uint8Array(3 * 28 * 28)];
      await copyPixels(target, 7);
      await prepareImage(join(folder, 'a.png'), { size: 28, aspect: 'pad' }, pixels);
      expect(target.subarray(7)).to.deep.equal(pixels);
      expect([...(await source.read(1)).tokens]).not.to.include(-200);
      await source.close();
    });
  });

  it('cuts the tail after the image became its patches', async () => {
    await inData([good, text], async (file) => {
      const whole = await openSamples(file, options);
      for (const maxLength of [10, 30, 32, 33, 36, 50]) {
        const cut = await openSamples(file, { ...options, maxLength });
        for (const i of [0, 1]) {
          const [a, b] = [await whole.read(i), await cut.read(i)];
          expect(b.tokens).to.deep.equal(a.tokens.slice(0, maxLength));
          expect(b.labels).to.deep.equal(a.labels.slice(0, maxLength));
        }
        await cut.close();
      }
      await whole.close();
    });
  });

  it('leaves out and lists records that cannot be used', async () => {
    const records = [
      { id: 'none' },
      { id: 'empty', conversations: [] },
      { id: 'answer', image: 'a.png', conversations: turns('<image>q', 'a <image>') },
      { id: 'silent', conversations: turns('q', '') },
      { id: 'twice', conversations: [...turns('q', 'a'), ...turns('q').map((t) => ({ ...t, from: 'gpt' }))] },
      { id: 'list', image: ['a.png'], conversations: turns('<image>q', 'a') },
      { id: 'gpt', conversations: [{ from: 'gpt', value: 'hello' }, ...text.conversations] },
      text,
    ];
    await inData(records, async (file, folder) => {
      const reportFile = join(folder, 'report.jsonl');
      const source = await openSamples(file, { ...options, reportFile });
      expect([source.length, source.skipped]).to.deep.equal([2, 6]);
      const lines = (await readFile(reportFile, 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { record: number; id: string; reason: string });
      expect(lines.map(({ record, id, reason }) => [record, id, reason])).to.deep.equal([
        [0, 'none', 'found no conversation'],
        [1, 'empty', 'found no conversation'],
        [2, 'answer', 'found <image> in an answer'],
        [3, 'silent', 'found no answer to learn'],
        [4, 'twice', 'found a turn from "gpt" where one from "human" is due'],
        [5, 'list', 'found an image that is no path: ["a.png"]'],
      ]);
      // The one that starts with gpt goes on from the human.
      expect((await source.read(0)).tokens).to.deep.equal((await source.read(1)).tokens);
      await source.close();
    });
  });

  it('looks for every image before it begins', async () => {
    const missing = ['gone.png', '../out.png', '/etc/hostname', 'sub', 'empty.png'];
    const records = [good, ...missing.map((image, i) => ({ ...good, id: i, image })), { ...good, id: 'again', image: 'gone.png' }, text];
    await inData(records, async (file, folder) => {
      await write(folder, { 'empty.png': '' });
      const reportFile = join(folder, 'report.jsonl');
      const reasons = async () =>
        (await readFile(reportFile, 'utf8'))
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { record: number; image: string; reason: string });
      const error = await failure(openSamples(file, { ...options, reportFile }));
      expect(error.code).to.equal('missing_images');
      expect(error.message)
        .to.include('expected 6 images')
        .and.include('found 5')
        .and.include('gone.png (no such file)')
        .and.include('--missing skip');
      const listed = await reasons();
      expect(listed.map(({ record, image }) => [record, image])).to.deep.equal([
        ...missing.map((image, i) => [i + 1, image]),
        [6, 'gone.png'],
      ]);
      expect(listed.map(({ reason }) => reason).slice(0, 5)).to.deep.equal([
        'found no such file',
        'found a path that leads out of the folder of images',
        'found a path that leads out of the folder of images',
        'found no file but something else of that name',
        'found an empty file',
      ]);

      const source = await openSamples(file, { ...options, missing: 'skip', reportFile });
      expect([source.length, source.skipped]).to.deep.equal([2, 6]);
      expect(await reasons()).to.deep.equal(listed);
      expect([...source.lengths]).to.deep.equal([14, -4]);
      expect(source.name(1)).to.equal('record 7');
      await source.close();

      const nowhere = await failure(openSamples(file, { ...options, images: join(folder, 'none') }));
      expect(nowhere.message).to.include('--images');
    });
  });

  it('decodes every image before it begins when asked', async () => {
    await inData([good, { ...good, image: 'broken.png' }], async (file, folder) => {
      await write(folder, { 'broken.png': (await readFile(join(folder, 'a.png'))).subarray(0, 60) });
      const unverified = await openSamples(file, options);
      const error = await failure((await unverified.read(1)).copyPixels(new Uint8Array(3 * 28 * 28), 0));
      expect(error.code).to.equal('undecodable_image');
      expect(error.message).to.include('broken.png: ');
      await unverified.close();
      expect((await failure(openSamples(file, { ...options, verifyImages: true }))).message).to.include(
        'broken.png (expected an image that can be decoded',
      );
      const source = await openSamples(file, { ...options, verifyImages: true, missing: 'skip' });
      expect(source.length).to.equal(1);
      await source.close();
    });
  });

  it('has a fingerprint of the text and of what is used of it', async () => {
    const fingerprint = (
      records: unknown,
      changed: Partial<SampleOptions> = {},
      before: (folder: string) => Promise<unknown> = async () => {},
    ) =>
      inData(records, async (file, folder) => {
        await before(folder);
        const source = await openSamples(file, { ...options, ...changed });
        await source.close();
        return source.fingerprint();
      });
    const a = await fingerprint([good, text]);
    expect(await fingerprint([good, text])).to.equal(a);
    expect(await fingerprint([text, good])).not.to.equal(a);
    const other = { ...good, image: 'c.png' };
    const without = await fingerprint([good, other], { missing: 'skip' });
    const present = await fingerprint([good, other], {}, async (folder) => symlink(join(folder, 'a.png'), join(folder, 'c.png')));
    expect(present).not.to.equal(without);
  });

  it('names a file that changes while it is read', async () => {
    await inData([text, text], async (file) => {
      const source = await openSamples(file, options);
      await writeFile(file, '[');
      expect((await failure(source.read(1))).code).to.equal('data_changed');
      await source.close();
    });
  });

  it('says what is missing', async () => {
    await inData([{ id: 1 }], async (file, folder) => {
      expect((await failure(openSamples(join(folder, 'none.json'), options))).code).to.equal('data_not_found');
      expect((await failure(openSamples(folder, options))).message).to.include('found a folder');
      expect((await failure(openSamples(file, { ...options, tokenizer: null }))).message).to.include('tokenizer');
      const empty = await failure(openSamples(file, options));
      expect(empty.code).to.equal('data_empty');
      expect(empty.message).to.include('record 0, found no conversation');
    });
  });

  it('finds llava-665k and its images in $KUEA_DATA', async () => {
    await inData([], async (_, folder) => {
      await mkdir(join(folder, 'coco'));
      await symlink(join(folder, 'a.png'), join(folder, 'coco/a.png'));
      await write(folder, { 'llava_v1_5_mix665k.json': JSON.stringify([{ ...good, image: 'coco/a.png' }]) });
      await withEnvironment({ KUEA_DATA: folder }, async () => {
        const source = await openSamples('llava-665k', options);
        expect(source.length).to.equal(1);
        await source.close();
      });
      const elsewhere = { KUEA_DATA: join(folder, 'coco'), HF_HUB_CACHE: join(folder, 'cache') };
      const error = await withEnvironment({ ...elsewhere, HF_ENDPOINT: 'http://127.0.0.1:9' }, () =>
        failure(openSamples('llava-665k', options)),
      );
      expect(error.code).to.equal('data_not_found');
      expect(error.message)
        .to.include(`no llava_v1_5_mix665k.json in ${join(folder, 'coco')} ($KUEA_DATA)`)
        .and.include('liuhaotian/LLaVA-Instruct-150K');

      const hub = await FakeHub.start();
      hub.commit('datasets/liuhaotian/LLaVA-Instruct-150K', { 'llava_v1_5_mix665k.json': JSON.stringify([text]), 'other.json': '[]' });
      try {
        const source = await withEnvironment({ ...elsewhere, HF_ENDPOINT: hub.url }, () => openSamples('llava-665k', options));
        expect(source.length).to.equal(1);
        await source.close();
        expect(hub.downloads()).to.deep.equal({ 'datasets/liuhaotian/LLaVA-Instruct-150K/llava_v1_5_mix665k.json': 1 });
      } finally {
        await hub.close();
      }
    });
  });
});

describe('openSamples: ids', () => {
  const ids = [1, 5, 9, 9, 9, 9, 7, 8, 1, 9, 9, 9, 9, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8];
  const labels = [-100, -100, -100, -100, -100, -100, 7, 8, -100, -100, -100, -100, -100, 5, 6, -100, ...Array<number>(8).fill(-100)];
  const pixels = Array.from({ length: 3 * 3 * 4 }, (_, i) => i / 7);
  const tensors = {
    input_ids: { dtype: 'I64' as const, shape: [3, 8], values: ids },
    labels: { dtype: 'I64' as const, shape: [3, 8], values: labels },
    pixel_values: { dtype: 'F32' as const, shape: [3, 3, 2, 2], values: pixels },
  };
  const tokenized: SampleOptions = { ...options, tokenizer: null, size: 2, imageToken: 9 };

  it('gives rows of a .safetensors file, up to their last label', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'a.safetensors': safetensors(tensors) });
      const source = await openSamples(join(folder, 'a.safetensors'), tokenized);
      expect([source.length, source.pixels, source.name(1)]).to.deep.equal([3, 'f32', 'row 1']);
      const [first, second, third] = await Promise.all([0, 1, 2].map((i) => source.read(i)));
      expect([...first!.tokens]).to.deep.equal([1, 5, -200, -200, -200, -200, 7, 8]);
      expect([...first!.labels]).to.deep.equal(labels.slice(0, 8));
      expect([...second!.tokens]).to.deep.equal([1, -200, -200, -200, -200, 5, 6]);
      expect(third!.tokens).to.have.length(0);
      const target = new Float32Array(14);
      await second!.copyPixels(new Uint8Array(target.buffer), 4);
      expect([...target]).to.deep.equal([0, ...Float32Array.from(pixels.slice(12, 24)), 0]);
      expect(await source.fingerprint()).to.match(/^[0-9a-f]{64}$/);
      await source.close();
    });
  });

  it('refuses other tensors, images that are not whole, and numbers that are no ids', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'a.safetensors');
      const opened = async (changed: object, more: Partial<SampleOptions> = {}) => {
        await write(folder, { 'a.safetensors': safetensors({ ...tensors, ...changed }) });
        return openSamples(file, { ...tokenized, ...more });
      };
      expect((await failure(opened({}, { imageToken: undefined }))).message).to.include('image_token_index');
      expect((await failure(opened({ labels: { dtype: 'I64', shape: [2, 12], values: labels } }))).message)
        .to.include('"labels" as I64 [3, 8]')
        .and.include('I64 [2, 12]');
      expect((await failure(opened({ input_ids: { dtype: 'I32', shape: [3, 8], values: ids } }))).message).to.include('found I32');
      expect((await failure(opened({}, { size: 4 }))).message).to.include('[3, 3, 4, 4]');
      const five = await opened({ input_ids: { dtype: 'I64', shape: [3, 8], values: ids.map((id, i) => (i === 6 ? 9 : id)) } });
      expect((await failure(five.read(0))).message)
        .to.include('4 times')
        .and.include('found it 5 times');
      await five.close();
      const huge = await opened({ input_ids: { dtype: 'I64', shape: [3, 8], values: ids.map((id, i) => (i === 0 ? 2 ** 40 : id)) } });
      expect((await failure(huge.read(0))).message).to.include('32 bits at [0, 0]');
      await huge.close();
    });
  });
});
