import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { type FilledSlot, Loader, type LoaderOptions } from '../../../../lib/data/images/loader.js';
import { preprocess } from '../../../../lib/data/images/preprocess.js';
import { Sampler } from '../../../../lib/data/images/sampler.js';
import type { EncodedSource, PixelSource } from '../../../../lib/data/images/source.js';
import { openSource } from '../../../../lib/data/images/sources.js';
import { SkippedImages } from '../../../../lib/data/skipped.js';
import { KueaError } from '../../../../lib/errors.js';
import { failure, golden, inFolder, write } from './support.js';

const size = 32;
const imageBytes = 3 * size * size;
const preprocessing = { resize: size, crop: size, mode: 'exact' } as const;

interface MemorySource extends EncodedSource {
  reads: number;
}

/** Images of the golden set, in memory; `broken` ones are not decodable, and every read takes a while that differs from image to image. */
async function memorySource(broken: readonly number[] = []): Promise<MemorySource> {
  const files = [
    'jpeg-restart.jpg',
    'jpeg-grey.jpg',
    'png-three-by-two.png',
    'png-palette.png',
    'jpeg-rgb.jpg',
    'png-la.png',
    'gif.gif',
    'jpeg-ycck.jpg',
    'png-1bit.png',
    'png-upscaled.png',
  ];
  const images = await Promise.all(files.map((file) => readFile(golden('pixels', 'inputs', file))));
  const source: MemorySource = {
    kind: 'folder',
    length: images.length,
    reads: 0,
    name: (i) => files[i]!,
    async read(i) {
      source.reads++;
      await new Promise((resolve) => setTimeout(resolve, (i * 7) % 5));
      return broken.includes(i) ? Buffer.from('broken') : images[i]!;
    },
    fingerprint: async () => '',
    close: async () => {},
  };
  return source;
}

function options(source: LoaderOptions['source'], changed: Partial<LoaderOptions> = {}, shuffle = false): LoaderOptions {
  const sampler = new Sampler({ length: source.length, batchSize: 4, seed: 1, shuffle });
  const slots = Array.from({ length: 2 }, () => new Uint8Array(4 * imageBytes));
  return {
    source,
    sampler,
    slots,
    preprocessing,
    startStep: 0,
    endStep: 2 * sampler.stepsPerEpoch,
    skipped: SkippedImages.inMemory(0),
    concurrency: 3,
    ...changed,
  };
}

async function pixelsOf(source: EncodedSource, i: number): Promise<Uint8Array> {
  const pixels = new Uint8Array(imageBytes);
  await preprocess(await source.read(i), preprocessing, pixels);
  return pixels;
}

/** Runs the loader to its end, releasing each slot; checks that every image of every batch is where it belongs. */
async function consume(o: LoaderOptions): Promise<FilledSlot[]> {
  const batches: FilledSlot[] = [];
  const loader = new Loader(o);
  for await (const batch of loader) {
    for (let i = 0; i < batch.count; i++) {
      const pixels = o.slots[batch.slot]!.subarray(i * imageBytes, (i + 1) * imageBytes);
      expect(pixels).to.deep.equal(await pixelsOf(o.source as EncodedSource, batch.rows[i]!));
    }
    batches.push(batch);
    loader.release(batch.slot);
  }
  return batches;
}

describe('Loader', () => {
  it("fills batches in the sampler's order, whichever image is ready first", async () => {
    const o = options(await memorySource(), {}, true);
    const batches = await consume(o);
    expect(batches.map(({ step, epoch, count }) => [step, epoch, count])).to.deep.equal([
      [0, 0, 4],
      [1, 0, 4],
      [2, 1, 4],
      [3, 1, 4],
    ]);
    for (const { step, rows, decodeMs, waitMs } of batches) {
      expect(rows).to.deep.equal(o.sampler.batchIndices(step));
      expect(decodeMs).to.be.above(0);
      expect(waitMs).to.be.at.least(0);
    }
  });

  it('starts at any step', async () => {
    const o = options(await memorySource(), { startStep: 3 }, true);
    const batches = await consume(o);
    expect(batches.map((b) => b.step)).to.deep.equal([3]);
    expect(batches[0]!.rows).to.deep.equal(o.sampler.batchIndices(3));
  });

  it('reads no further ahead than there are slots', async () => {
    const source = await memorySource();
    const o = options(source);
    const loader = new Loader(o);
    const batches = loader[Symbol.asyncIterator]();
    const first = (await batches.next()).value!;
    await batches.next();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(source.reads).to.equal(8);
    const kept = o.slots[first.slot]!.slice();
    const third = batches.next();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(source.reads).to.equal(8);
    expect(o.slots[first.slot]).to.deep.equal(kept);
    loader.release(first.slot);
    expect((await third).value!.slot).to.equal(first.slot);
    expect(source.reads).to.equal(12);
    await batches.return();
  });

  it('drops undecodable images from their batch and lists each once, also over a resume', async () => {
    await inFolder(async (folder) => {
      const skippedFile = join(folder, 'skipped.jsonl');
      const source = await memorySource([1, 6]);
      const batches = await consume(options(source, { skipped: await SkippedImages.open(skippedFile, 2) }));
      expect(batches.map(({ rows }) => [...rows])).to.deep.equal([
        [0, 2, 3],
        [4, 5, 7],
        [0, 2, 3],
        [4, 5, 7],
      ]);
      const lines = async () =>
        (await readFile(skippedFile, 'utf8'))
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { index: number; name: string; reason: string });
      const listed = await lines();
      expect(listed.map(({ index, name }) => [index, name]).sort()).to.deep.equal([
        [1, 'jpeg-grey.jpg'],
        [6, 'gif.gif'],
      ]);
      expect(listed[0]!.reason).to.include('starts with "broken"');

      // A crash in the middle of a line: that image is listed again, the other is not.
      const text = await readFile(skippedFile, 'utf8');
      await writeFile(skippedFile, text.slice(0, -4));
      await consume(options(source, { skipped: await SkippedImages.open(skippedFile, 2), startStep: 2 }));
      expect(await lines()).to.deep.equal(listed);
    });
  });

  it('ends when more images than allowed are undecodable', async () => {
    const skipped = SkippedImages.inMemory(1);
    const loader = new Loader(options(await memorySource([1, 6]), { skipped }));
    const counts: number[] = [];
    const error = await failure(
      (async () => {
        for await (const batch of loader) {
          counts.push(batch.count);
          loader.release(batch.slot);
        }
      })(),
    );
    expect(error.code).to.equal('too_many_skipped');
    expect(error.message).to.include('at most 1').and.include('found 2').and.include('--max-skipped');
    expect(skipped.count).to.equal(2);
  });

  it('ends when a batch has no image left', async () => {
    const error = await failure(consume(options(await memorySource([4, 5, 6, 7]), { skipped: SkippedImages.inMemory(9) })));
    expect(error.code).to.equal('empty_batch');
    expect(error.message).to.include('step 1');
  });

  it('lets an empty batch pass where other ranks may have images of it', async () => {
    const batches = await consume(options(await memorySource([4, 5, 6, 7]), { skipped: SkippedImages.inMemory(9), mayBeEmpty: true }));
    expect(batches.map(({ count }) => count)).to.include(0);
  });

  it('stops by signal: rejects with its reason, and writes nothing afterwards', async () => {
    for (const when of ['before', 'while decoding', 'while no slot is free'] as const) {
      const source = await memorySource();
      const controller = new AbortController();
      const o = options(source, { signal: controller.signal });
      const loader = new Loader(o);
      const reason = new KueaError('stopped', 'stop');
      if (when === 'before') controller.abort(reason);
      const batches = loader[Symbol.asyncIterator]();
      if (when === 'while no slot is free') {
        await batches.next();
        await batches.next();
      }
      const next = failure(batches.next());
      await new Promise((resolve) => setTimeout(resolve, 3));
      controller.abort(reason);
      expect(await next, when).to.equal(reason);
      const { reads } = source;
      const slots = o.slots.map((slot) => slot.slice());
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(source.reads).to.equal(reads);
      expect(o.slots).to.deep.equal(slots);
    }
  });

  it('passes other errors on, the first one', async () => {
    const source = await memorySource();
    const read = source.read.bind(source);
    source.read = (i) => (i === 5 ? Promise.reject(new KueaError('disk_full', 'no')) : read(i));
    expect((await failure(consume(options(source)))).code).to.equal('disk_full');
  });

  it('copies ready pixels straight into the slot', async () => {
    await inFolder(async (folder) => {
      const bytes = 5 * 3 * 2 * 2;
      const header = Buffer.from(JSON.stringify({ pixels: { dtype: 'U8', shape: [5, 3, 2, 2], data_offsets: [0, bytes] } }));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      await write(folder, { 'p.safetensors': Buffer.concat([length, header, Buffer.from([...Array(bytes).keys()])]) });
      const source = (await openSource(join(folder, 'p.safetensors'))) as PixelSource;
      const o = options(source, { preprocessing: { resize: 2, crop: 2, mode: 'exact' }, slots: [new Uint8Array(48)], endStep: 1 });
      for await (const { rows, slot } of new Loader(o)) {
        expect([...rows]).to.deep.equal([0, 1, 2, 3]);
        expect([...o.slots[slot]!]).to.deep.equal([...Array(48).keys()]);
      }
      expect(() => new Loader({ ...o, preprocessing }))
        .to.throw(KueaError)
        .with.property('code', 'pixel_size');
      await source.close();
    });
  });
});
