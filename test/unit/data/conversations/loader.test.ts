import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { MicroBatchLoader, type MicroBatchLoaderOptions, type Update } from '../../../../lib/data/conversations/loader.js';
import { openSamples } from '../../../../lib/data/conversations/open.js';
import { imagesPerSlot } from '../../../../lib/data/conversations/packing.js';
import { UpdateSampler } from '../../../../lib/data/conversations/sampler.js';
import type { SampleSource } from '../../../../lib/data/conversations/source.js';
import { SkippedImages } from '../../../../lib/data/skipped.js';
import { KueaError } from '../../../../lib/errors.js';
import type { MicroBatch } from '../../../../lib/native/llava.js';
import { failure, inFolder, write } from '../images/support.js';
import { safetensors } from './support.js';

const patches = 3;
const imageSize = 2;
const imageBytes = 3 * imageSize ** 2;

/**
 * Sample i has 3 + i % 4 tokens, the last 1 + i % 3 of them learnt, 3 more in front where it has an image (i % 3 > 0), whose bytes are all
 * i.
 */
interface TestSource extends SampleSource {
  reads: number[];
  copies: number;
}

function testSource(length: number, { broken = [], unlearnt = [] }: { broken?: number[]; unlearnt?: number[] } = {}): TestSource {
  const source: TestSource = {
    length,
    pixels: 'u8',
    lengths: Int32Array.from({ length }, (_, i) => (i % 3 > 0 ? 1 : -1)),
    skipped: 0,
    reads: [],
    copies: 0,
    name: (i) => `sample ${i}`,
    async read(i) {
      source.reads.push(i);
      const text = Array.from({ length: 3 + (i % 4) }, (_, t) => 100 * i + t);
      const image = i % 3 > 0 ? Array<number>(patches).fill(-200) : [];
      const learnt = unlearnt.includes(i) ? 0 : 1 + (i % 3);
      return {
        tokens: Int32Array.from([...image, ...text]),
        labels: Int32Array.from([...image.map(() => -100), ...text.map((id, t) => (t >= text.length - learnt ? id : -100))]),
        async copyPixels(target, offset) {
          source.copies++;
          await new Promise((resolve) => setTimeout(resolve, (i * 7) % 4));
          if (broken.includes(i)) throw new KueaError('undecodable_image', `${i} is broken`);
          target.fill(i, offset, offset + imageBytes);
        },
      };
    },
    fingerprint: async () => '',
    close: async () => {},
  };
  return source;
}

function options(
  source: SampleSource,
  changed: Partial<MicroBatchLoaderOptions> = {},
  sampling: { batchSize?: number; gradAccum?: number; ranks?: number } = {},
): MicroBatchLoaderOptions {
  const { batchSize = 1, gradAccum = 6, ranks = 1 } = sampling;
  const sampler = new UpdateSampler({
    members: Uint32Array.from({ length: source.length }, (_, i) => i),
    lengths: source.lengths,
    batchSize,
    gradAccum,
    ranks,
    seed: 0,
    order: 'sequential',
  });
  const shape = { packing: true, batchSize, maxLength: 14, patches, ...changed };
  const slots = Array.from({ length: 2 }, () => new Uint8Array(imagesPerSlot(shape) * imageBytes));
  return {
    source,
    sampler,
    slots,
    imageSize,
    normalisation: 'sample',
    rank: 0,
    ranks,
    startUpdate: 0,
    endUpdate: sampler.updatesPerEpoch,
    skipped: SkippedImages.inMemory(0),
    concurrency: 3,
    ...shape,
  };
}

/** Everything that a loader gives, and for each micro-batch the value of each image. */
async function consume(o: MicroBatchLoaderOptions): Promise<{ update: Update; batches: (MicroBatch & { pixels: number[] })[] }[]> {
  const loader = new MicroBatchLoader(o);
  const updates = [];
  for await (const update of loader) {
    const batches = [];
    for await (const batch of update.microBatches) {
      const slot = o.slots[batch.slot]!;
      const pixels = Array.from({ length: batch.images }, (_, image) => slot[image * imageBytes]!);
      expect([...slot.subarray(0, batch.images * imageBytes)]).to.deep.equal(
        pixels.flatMap((value) => Array<number>(imageBytes).fill(value)),
      );
      batches.push({ ...batch, pixels });
      loader.release(batch.slot);
    }
    updates.push({ update, batches });
  }
  return updates;
}

/** The sample of each part of a micro-batch, by its first text token. */
function samplesOf(batch: MicroBatch): number[] {
  let at = 0;
  return Array.from(batch.lengths, (length) => Math.floor(batch.tokens.subarray(at, (at += length)).find((id) => id >= 0)! / 100));
}

describe('MicroBatchLoader', () => {
  it('packs samples end to end, each with its image, its labels, its weight and its key', async () => {
    const source = testSource(14);
    const updates = await consume(options(source));
    expect(updates.map(({ update }) => [update.update, update.epoch, update.samples])).to.deep.equal([
      [0, 0, 6],
      [1, 0, 6],
      [2, 0, 2],
    ]);
    // Lengths: 3 7 8 6 6 7 | 5 9 6 4 8 9 | 3 7; first fit to 14: {0 1}, {2 3}, {4 5}.
    expect(updates.map(({ batches }) => batches.map(samplesOf))).to.deep.equal([
      [
        [0, 1],
        [2, 3],
        [4, 5],
      ],
      [[6, 7], [8, 9], [10], [11]],
      [[12, 13]],
    ]);
    for (const { batches } of updates) {
      for (const batch of batches) {
        const samples = samplesOf(batch);
        const read = await Promise.all(samples.map((i) => source.read(i)));
        expect([...batch.tokens]).to.deep.equal(read.flatMap(({ tokens }) => [...tokens]));
        expect([...batch.labels]).to.deep.equal(read.flatMap(({ labels }) => [...labels]));
        expect([...batch.lengths]).to.deep.equal(read.map(({ tokens }) => tokens.length));
        const withImage = samples.filter((i) => i % 3 > 0);
        expect(batch.images).to.equal(withImage.length);
        expect(batch.pixels).to.deep.equal(withImage);
        expect([...batch.imageRows]).to.deep.equal(Array.from({ length: withImage.length * patches }, (_, row) => row));
        expect([...batch.weights]).to.deep.equal(samples.map((i) => Math.fround(1 / (1 + (i % 3)))));
        expect([...batch.sampleKeys]).to.deep.equal(samples);
        expect(batch.denominator).to.equal(samples.length);
      }
    }
  });

  it('gives each normalisation its weights and denominators, however samples are packed', async () => {
    for (const packing of [true, false]) {
      const sums = async (normalisation: 'sample' | 'token' | 'microbatch') => {
        const { batches } = (await consume(options(testSource(12), { normalisation, packing }, { batchSize: 3, gradAccum: 4 })))[0]!;
        const weights = new Map(batches.flatMap((batch) => samplesOf(batch).map((i, s) => [i, batch.weights[s]!])));
        return {
          weights: Array.from({ length: 12 }, (_, i) => weights.get(i)),
          denominator: batches.reduce((sum, batch) => sum + batch.denominator, 0),
        };
      };
      expect(await sums('sample')).to.deep.equal({
        weights: Array.from({ length: 12 }, (_, i) => Math.fround(1 / (1 + (i % 3)))),
        denominator: 12,
      });
      expect(await sums('token')).to.deep.equal({ weights: Array(12).fill(1), denominator: 24 });
      // Each micro-batch has 1 + 2 + 3 labels.
      const { weights, denominator } = await sums('microbatch');
      expect(weights).to.deep.equal(Array(12).fill(Math.fround(1 / 6)));
      expect(denominator).to.be.closeTo(4, 1e-12);
    }
  });

  it('takes micro-batches as they are without packing, with room for their images', async () => {
    const o = options(testSource(10), { packing: false }, { batchSize: 4, gradAccum: 2 });
    expect(o.slots[0]!.length).to.equal(4 * imageBytes);
    expect((await consume(o)).map(({ batches }) => batches.map(samplesOf))).to.deep.equal([
      [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
      ],
      [[8, 9]],
    ]);
  });

  it('deals the micro-batches of an update to the ranks', async () => {
    const sampling = { batchSize: 2, gradAccum: 2, ranks: 2 };
    const byRank = await Promise.all([0, 1].map((rank) => consume(options(testSource(13), { rank, packing: false }, sampling))));
    expect(byRank.map((updates) => updates.map(({ batches }) => batches.map(samplesOf)))).to.deep.equal([
      [
        [
          [0, 1],
          [4, 5],
        ],
        [[8, 9], [12]],
      ],
      [
        [
          [2, 3],
          [6, 7],
        ],
        [[10, 11]],
      ],
    ]);
    // The same samples as one rank has, with the same keys, weights and denominators.
    const parts = (updates: { batches: MicroBatch[] }[]) =>
      updates
        .flatMap(({ batches }) => batches.flatMap((b) => samplesOf(b).map((i, s) => ({ i, key: b.sampleKeys[s], weight: b.weights[s] }))))
        .sort((a, b) => a.i - b.i);
    const alone = await consume(options(testSource(13), {}, { ...sampling, gradAccum: 4, ranks: 1 }));
    expect(parts(byRank.flat())).to.deep.equal(parts(alone));
  });

  it('starts at any update, with the same batches', async () => {
    const whole = await consume(options(testSource(14)));
    const rest = await consume(options(testSource(14), { startUpdate: 1 }));
    const plain = (updates: typeof whole) => updates.map(({ batches }) => batches.map(({ slot: _, ...batch }) => batch));
    expect(plain(rest)).to.deep.equal(plain(whole.slice(1)));
  });

  it('leaves out samples with nothing to learn, and gives an update of nothing else no micro-batch', async () => {
    const updates = await consume(options(testSource(12, { unlearnt: [1, 6, 7, 8, 9, 10, 11] })));
    expect(updates.map(({ batches }) => batches.map(samplesOf))).to.deep.equal([[[0, 2], [3, 4], [5]], []]);
    expect(updates[0]!.batches[0]!.denominator).to.equal(2);
    expect(updates.map(({ update }) => update.samples)).to.deep.equal([5, 0]);
  });

  it('leaves out samples whose image is broken, lists each once, and moves the other images up', async () => {
    await inFolder(async (folder) => {
      const skippedFile = join(folder, 'skipped.jsonl');
      const source = testSource(12, { broken: [1, 7, 11] });
      const o = options(
        source,
        { packing: false, skipped: await SkippedImages.open(skippedFile, 3), endUpdate: 4 },
        { batchSize: 3, gradAccum: 2 },
      );
      const updates = await consume(o);
      expect(updates.map(({ batches }) => batches.map(samplesOf))).to.deep.equal([
        [
          [0, 2],
          [3, 4, 5],
        ],
        [
          [6, 8],
          [9, 10],
        ],
        [
          [0, 2],
          [3, 4, 5],
        ],
        [
          [6, 8],
          [9, 10],
        ],
      ]);
      expect(updates[0]!.batches[0]!.pixels).to.deep.equal([2]);
      expect(updates[0]!.batches[0]!.denominator).to.equal(2);
      const lines = (await readFile(skippedFile, 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { index: number; name: string });
      expect(lines.map(({ index, name }) => [index, name]).sort()).to.deep.equal([
        [1, 'sample 1'],
        [11, 'sample 11'],
        [7, 'sample 7'],
      ]);
      // A micro-batch of broken ones alone gives its slot back.
      const alone = await consume(options(testSource(6, { broken: [1, 2] }), { packing: false, skipped: SkippedImages.inMemory(2) }));
      expect(alone.map(({ batches }) => batches.map(samplesOf))).to.deep.equal([[[0], [3], [4], [5]]]);
      expect((await failure(consume(options(source, { skipped: SkippedImages.inMemory(2) })))).code).to.equal('too_many_skipped');
    });
  });

  it('reads no further ahead than there are slots, and fills those it may alone', async () => {
    const source = testSource(60);
    const o = options(source, { packing: false, slotNumbers: [1, 2] });
    const slots = Array.from({ length: 4 }, () => new Uint8Array(imageBytes));
    const loader = new MicroBatchLoader({ ...o, slots });
    const updates = loader[Symbol.asyncIterator]();
    const drawn = (await updates.next()).value!.microBatches[Symbol.asyncIterator]();
    const first = (await drawn.next()).value as MicroBatch;
    const second = (await drawn.next()).value as MicroBatch;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([first.slot, second.slot]).to.deep.equal([1, 2]);
    expect(source.copies).to.equal(1);
    expect(source.reads).to.have.length(6);
    const third = drawn.next();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(source.copies).to.equal(1);
    loader.release(first.slot);
    expect(((await third).value as MicroBatch).slot).to.equal(1);
    await updates.return();
    expect(slots[0]!.every((v) => v === 0) && slots[3]!.every((v) => v === 0)).to.equal(true);
  });

  it('stops by signal: rejects with its reason, and writes nothing afterwards', async () => {
    for (const when of ['before', 'while decoding', 'while no slot is free'] as const) {
      const source = testSource(60);
      const controller = new AbortController();
      const o = options(source, { signal: controller.signal });
      const reason = new KueaError('stopped', 'stop');
      if (when === 'before') controller.abort(reason);
      const ended = failure(
        (async () => {
          const loader = new MicroBatchLoader(o);
          for await (const update of loader)
            for await (const { slot } of update.microBatches) if (when === 'while decoding') loader.release(slot);
        })(),
      );
      await new Promise((resolve) => setTimeout(resolve, 10));
      controller.abort(reason);
      expect(await ended, when).to.equal(reason);
      const { copies } = source;
      const slots = o.slots.map((slot) => slot.slice());
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(source.copies).to.equal(copies);
      expect(o.slots).to.deep.equal(slots);
    }
  });

  it('brings ids and F32 pixels of a .safetensors file as they are', async () => {
    await inFolder(async (folder) => {
      const pixels = Array.from({ length: 3 * imageBytes }, (_, i) => i / 7);
      const ids = [1, 9, 9, 9, 5, 1, 6, 7, 8, 2, 1, 9, 9, 9, 4];
      await write(folder, {
        'a.safetensors': safetensors({
          input_ids: { dtype: 'I64', shape: [3, 5], values: ids },
          labels: { dtype: 'I64', shape: [3, 5], values: ids.map((id, i) => (i % 5 === 4 ? id : -100)) },
          pixel_values: { dtype: 'F32', shape: [3, 3, imageSize, imageSize], values: pixels },
        }),
      });
      const source = await openSamples(join(folder, 'a.safetensors'), {
        size: imageSize,
        aspect: 'pad',
        tokenizer: null,
        patches,
        imageToken: 9,
        maxLength: 15,
        missing: 'error',
        verifyImages: false,
      });
      const slots = [new Float32Array(3 * imageBytes)];
      const loader = new MicroBatchLoader({
        ...options(source, { maxLength: 15 }),
        slots: slots.map((slot) => new Uint8Array(slot.buffer)),
      });
      const batches: MicroBatch[] = [];
      for await (const update of loader) {
        for await (const batch of update.microBatches) {
          batches.push(batch);
          loader.release(batch.slot);
        }
      }
      expect(batches).to.have.length(1);
      expect([...batches[0]!.tokens]).to.deep.equal(ids.map((id) => (id === 9 ? -200 : id)));
      expect([batches[0]!.images, [...batches[0]!.imageRows]]).to.deep.equal([2, [0, 1, 2, 3, 4, 5]]);
      expect([...slots[0]!.subarray(0, 2 * imageBytes)]).to.deep.equal([
        ...Float32Array.from([...pixels.slice(0, imageBytes), ...pixels.slice(2 * imageBytes)]),
      ]);
      await source.close();
    });
  });

  it('passes other errors on', async () => {
    const source = testSource(12);
    const read = source.read.bind(source);
    source.read = (i) => (i === 7 ? Promise.reject(new KueaError('data_changed', 'no')) : read(i));
    expect((await failure(consume(options(source)))).code).to.equal('data_changed');
    const copying = testSource(12);
    const plain = copying.read.bind(copying);
    copying.read = async (i) => ({ ...(await plain(i)), copyPixels: () => Promise.reject(new KueaError('disk_full', 'no')) });
    expect((await failure(consume(options(copying)))).code).to.equal('disk_full');
  });
});
