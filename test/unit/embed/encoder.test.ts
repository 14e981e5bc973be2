import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { expect } from 'chai';

import { type Encoder, openEncoder } from '../../../lib/index.js';
import { packageRoot } from '../../../lib/package.js';
import { failure, golden } from '../data/images/support.js';

const model = join(packageRoot(), 'configs/demo/clip');
const scenes = [0, 1, 2, 3].map((i) => golden('demo', `scene-00000${i}.jpg`));

/** Embedding `i` of what encodeImages gave. */
const row = (embeddings: Float32Array, i: number, dim: number) => embeddings.slice(i * dim, (i + 1) * dim);

describe('an open encoder', () => {
  let encoder: Encoder;
  /** Each scene by itself. */
  let alone: Float32Array[];
  before(async () => {
    encoder = await openEncoder(model, { batchSize: 3 });
    alone = [];
    for (const scene of scenes) alone.push(await encoder.encodeImages([scene]));
  });
  after(() => encoder.close());

  /** That the embeddings are those of these scenes, in this order. */
  function expectScenes(found: Float32Array, indices: readonly number[]): void {
    expect(found).to.have.length(indices.length * encoder.dim);
    for (const [place, index] of indices.entries())
      for (const [i, value] of row(found, place, encoder.dim).entries()) expect(value).to.be.closeTo(alone[index]![i]!, 1e-5);
  }

  it('gives embeddings in the order of the images, whatever the batches, by path and by bytes', async () => {
    const indices = Array.from({ length: 11 }, (_, i) => (i * i) % 4);
    expectScenes(await encoder.encodeImages(indices.map((i) => scenes[i]!)), indices);
    expectScenes(await encoder.encodeImages(indices.map((i) => readFileSync(scenes[i]!))), indices);
    expect(await encoder.encodeImages([])).to.have.length(0);
  });

  it('keeps calls that run side by side apart, those that fail included', async () => {
    const calls = Array.from({ length: 24 }, async (_, call) => {
      const indices = Array.from({ length: 1 + (call % 7) }, (_, i) => (call + i) % 4);
      const images = indices.map((i) => scenes[i]!);
      if (call % 5 === 4) {
        const error = await failure(encoder.encodeImages([...images, join(packageRoot(), 'none.jpg'), 'later.jpg']));
        expect(error.code).to.equal('undecodable_image');
        expect(error.message).to.match(/none\.jpg: .*no such file/);
      } else expectScenes(await encoder.encodeImages(images), indices);
    });
    await Promise.all(calls);
  });

  it('takes the list as it was when it was called', async () => {
    const images = scenes.slice();
    const encoded = encoder.encodeImages(images);
    images.length = 0;
    expectScenes(await encoded, [0, 1, 2, 3]);
  });

  it('names the first image that cannot be decoded, by its path or its place', async () => {
    const broken = Buffer.from('broken');
    expect((await failure(encoder.encodeImages([...scenes, broken, 'none.jpg']))).message).to.match(/^image 4: .*starts with "broken"/);
    expect((await failure(encoder.encodeImages(['none.jpg', broken]))).message).to.match(/^none\.jpg: .*no such file/);
  });

  it('refuses images of more pixels than maxPixels', async () => {
    const small = await openEncoder(model, { maxPixels: 100 });
    const error = await failure(small.encodeImages([scenes[0]!]));
    expect(error.code).to.equal('undecodable_image');
    expect(error.message).to.match(/more than 100, /);
    await small.close();
  });

  it('says what is no image', async () => {
    const encode = (images: unknown) => failure(encoder.encodeImages(images as string[]));
    const expectRefusal = async (images: unknown, found: RegExp) => {
      const { code, message } = await encode(images);
      expect(code).to.equal('bad_option');
      expect(message).to.match(found);
    };
    await expectRefusal('x.jpg', /^expected an array of images.*, found "x\.jpg"$/);
    await expectRefusal(undefined, /^expected an array of images.*, found undefined$/);
    await expectRefusal([null], /for image 0, found null$/);
    await expectRefusal([scenes[0], undefined], /for image 1, found undefined$/);
    await expectRefusal(new Array(2), /for image 0, found undefined$/);
    await expectRefusal([''], /for image 0, found ""$/);
    await expectRefusal([pathToFileURL(scenes[0]!)], /for image 0, found a URL \(fileURLToPath gives its path\)$/);
    await expectRefusal([new ArrayBuffer(8)], /for image 0, found a value of class ArrayBuffer$/);
  });
});

describe('openEncoder', () => {
  const sentence = ({ code, message }: { code: string; message: string }) => `${code}: ${message}`;
  const refusal = async (options: unknown) => sentence(await failure(openEncoder(model, options as object)));
  const refusalOf = async (ref: unknown) => sentence(await failure(openEncoder(ref as string)));

  it('says which option is unknown, and which it may be', async () => {
    expect(await refusal({ bogus: 1 })).to.match(/^unknown_option: unknown option bogus/);
    expect(await refusal({ batchsize: 4 })).to.match(/^unknown_option: .*did you mean batchSize\?/);
    expect(await refusal({ projection: 'optional' })).to.match(/^unknown_option: /);
  });

  it('says which value is none of an option', async () => {
    expect(await refusal({ precision: 'fp16' })).to.match(/^bad_option: .*precision.*"fp16"/);
    expect(await refusal({ batchSize: 0 })).to.match(/^bad_option: .*batchSize.*0/);
    expect(await refusal({ batchSize: Number.NaN })).to.match(/^bad_option: .*batchSize.*NaN/);
    expect(await refusal({ batchSize: '8' })).to.match(/^bad_option: .*batchSize.*"8"/);
    expect(await refusal({ batchSize: 8n })).to.match(/^bad_option: .*batchSize.*8n/);
    expect(await refusal({ maxPixels: 2 ** 40 })).to.match(/^bad_option: .*maxPixels/);
    expect(await refusal({ device: 'gpu' })).to.match(/^bad_option: .*device.*"gpu"/);
    expect(await refusal(null)).to.equal('bad_option: expected an object of options, found null');
    expect(await refusal('bf16')).to.equal('bad_option: expected an object of options, found "bf16"');
    expect(await refusal([])).to.equal('bad_option: expected an object of options, found []');
  });

  it('says what is no model', async () => {
    expect(await refusalOf(undefined)).to.equal("bad_option: expected a model's folder, file or hub id, found undefined");
    expect(await refusalOf(pathToFileURL(model))).to.match(/^bad_option: .*found a URL \(fileURLToPath gives its path\)$/);
  });

  it('takes undefined for what is not said', async () => {
    const encoder = await openEncoder(model, { precision: undefined, batchSize: undefined });
    await encoder.close();
  });
});

describe('the close of an encoder', () => {
  it('waits for the calls that run, all their batches, and refuses later ones', async () => {
    const encoder = await openEncoder(model, { batchSize: 1 });
    const log: string[] = [];
    const calls = Array.from({ length: 3 }, async () => {
      const embeddings = await encoder.encodeImages(scenes);
      expect(embeddings).to.have.length(4 * encoder.dim);
      log.push('encoded');
    });
    const closed = encoder.close().then(() => log.push('closed'));
    const error = await failure(encoder.encodeImages(scenes));
    expect(error.code).to.equal('closed');
    await Promise.all([...calls, closed]);
    expect(log).to.deep.equal(['encoded', 'encoded', 'encoded', 'closed']);
    await encoder.close();
  });

  it('waits for a call that fails, and is its using block', async () => {
    const encoder = await openEncoder(model, { batchSize: 1 });
    const failed = failure(encoder.encodeImages([...scenes, 'none.jpg', ...scenes]));
    await Promise.all([encoder[Symbol.asyncDispose](), encoder.close()]);
    expect((await failed).code).to.equal('undecodable_image');
  });
});
