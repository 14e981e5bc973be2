import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

import { expect } from 'chai';

import { type Encoder, openEncoder } from '../../../lib/index.js';
import { openWeights } from '../../../lib/models/open.js';
import type { Addon, NativeTextEncoder } from '../../../lib/native/addon.js';
import { loadAddon } from '../../../lib/native/load.js';
import { packageRoot } from '../../../lib/package.js';
import { openClipTokenizer } from '../../../lib/text/clip-tokenizer.js';
import { difference } from '../../native/numbers.js';
import { failure, golden } from '../data/images/support.js';

const model = join(packageRoot(), 'configs/demo/clip');
const texts = ['a red circle', '', 'the blue square & a green one, on the left of it: "really"', 'A RED CIRCLE', '🐱', 'x '.repeat(90)];

/** Calls `f` while each text tower that is opened goes through `wrap`. */
async function watching<T>(wrap: (native: NativeTextEncoder) => NativeTextEncoder, f: () => Promise<T>): Promise<T> {
  const addon = loadAddon();
  const { openTextEncoder } = addon;
  addon.openTextEncoder = async (spec) => wrap(await openTextEncoder(spec));
  try {
    return await f();
  } finally {
    addon.openTextEncoder = openTextEncoder;
  }
}

describe('the texts of an open encoder', () => {
  let encoder: Encoder;
  /** Each text by itself. */
  let alone: Float32Array[];
  before(async () => {
    encoder = await openEncoder(model, { batchSize: 2 });
    alone = [];
    for (const text of texts) alone.push(await encoder.encodeTexts([text]));
  });
  after(() => encoder.close());

  const expectTexts = (found: Float32Array, indices: readonly number[]) => {
    expect(found).to.have.length(indices.length * encoder.dim);
    for (const [place, index] of indices.entries())
      expect(difference(found.slice(place * encoder.dim, (place + 1) * encoder.dim), alone[index]!)).to.be.at.most(1e-5);
  };

  it("are embedded as the addon embeds the ids of the folder's tokenizer", async () => {
    const tokenizer = await openClipTokenizer(model, 593);
    const ids = texts.flatMap((text) => [...tokenizer.encode(text, 16), ...Array(16).fill(0)].slice(0, 16));
    const { text: tower } = await openWeights(model);
    const native = await loadAddon().openTextEncoder({ ...tower!.plan(), precision: 'fp32', device: 'cpu' });
    const found = await native.encode(Int32Array.from(ids), texts.length, 16);
    await native.close();
    expectTexts(found, [...texts.keys()]);
  });

  it('are embedded in the order given, whatever the batches', async () => {
    const indices = Array.from({ length: 75 }, (_, i) => (i * i + i) % texts.length);
    expectTexts(await encoder.encodeTexts(indices.map((i) => texts[i]!)), indices);
    expect(await encoder.encodeTexts([])).to.have.length(0);
    expect(alone[0]).to.deep.equal(alone[3]);
    expect(difference(alone[0]!, alone[1]!)).to.be.above(1e-3);
  });

  it('are embedded by calls that run side by side', async () => {
    const calls = Array.from({ length: 12 }, async (_, call) => {
      const indices = Array.from({ length: 1 + (call % 5) }, (_, i) => (call + i) % texts.length);
      expectTexts(await encoder.encodeTexts(indices.map((i) => texts[i]!)), indices);
    });
    await Promise.all(calls);
  });

  it('have the scale of their cosines beside them', () => {
    expect(encoder.logitScale).to.be.closeTo(18.181246, 1e-5);
  });

  it('leave the event loop free while they are cut', async () => {
    let turns = 0;
    let before: number | undefined;
    const counted = (native: NativeTextEncoder): NativeTextEncoder => ({
      ...native,
      dim: native.dim,
      encode: (...batch) => {
        before ??= turns;
        return native.encode(...batch);
      },
    });
    await watching(counted, async () => {
      const own = await openEncoder(model, { batchSize: 2 });
      await own.encodeTexts([]);
      let done = false;
      const encoded = own.encodeTexts(Array(32).fill('a red circle')).then(() => {
        done = true;
      });
      while (!done) {
        await setImmediate();
        turns++;
      }
      await encoded;
      await own.close();
    });
    // 32 texts, two at a time.
    expect(before).to.be.at.least(10);
  });

  it('end with a signal, before and between batches', async () => {
    const reason = new Error('enough');
    const aborted = (signal: AbortSignal) => encoder.encodeTexts(Array(200).fill('a'), { signal }).catch((error: unknown) => error);
    expect(await aborted(AbortSignal.abort(reason))).to.equal(reason);
    let batches = 0;
    const stop = new AbortController();
    const counted = (native: NativeTextEncoder): NativeTextEncoder => ({
      ...native,
      dim: native.dim,
      encode: (...batch) => {
        if (++batches === 3) stop.abort(reason);
        return native.encode(...batch);
      },
    });
    await watching(counted, async () => {
      const own = await openEncoder(model, { batchSize: 2 });
      expect(await own.encodeTexts(Array(200).fill('a'), { signal: stop.signal }).catch((error: unknown) => error)).to.equal(reason);
      await own.close();
    });
    expect(batches).to.equal(3);
  });

  it('are refused when they are none', async () => {
    const refusal = async (given: unknown, options?: unknown) => {
      const { code, message } = await failure(encoder.encodeTexts(given as string[], options as object));
      return `${code}: ${message}`;
    };
    expect(await refusal('a cat')).to.equal('bad_option: expected an array of texts, found "a cat"');
    expect(await refusal(['a', 1])).to.equal('bad_option: expected a string for text 1, found 1');
    expect(await refusal(new Array(2))).to.equal('bad_option: expected a string for text 0, found undefined');
    expect(await refusal(['a'], { signals: 1 })).to.match(/^unknown_option: .*signals/);
    expect(await refusal(['a'], { signal: 1 })).to.match(/^bad_option: .*signal/);
  });
});

describe('the text tower of an open encoder', () => {
  it('is opened by the first text, once, and closed with the encoder', async () => {
    const log: string[] = [];
    const logged = (native: NativeTextEncoder): NativeTextEncoder => {
      log.push('opened');
      return { ...native, dim: native.dim, close: () => native.close().then(() => void log.push('closed')) };
    };
    await watching(logged, async () => {
      const images = await openEncoder(model);
      await images.encodeImages([golden('demo', 'scene-000000.jpg')]);
      await images.close();
      expect(log).to.deep.equal([]);
      const encoder = await openEncoder(model);
      await Promise.all([encoder.encodeTexts(['a']), encoder.encodeTexts(['b'])]);
      expect(log).to.deep.equal(['opened']);
      await encoder.close();
      expect(log).to.deep.equal(['opened', 'closed']);
    });
  });

  it('is no part of what is read for images', async () => {
    const addon = loadAddon();
    const { openEncoder: real } = addon;
    const read: string[] = [];
    addon.openEncoder = (spec: Parameters<Addon['openEncoder']>[0]) => {
      read.push(...spec.weights.map(({ parameter }) => parameter));
      return real(spec);
    };
    try {
      await (await openEncoder(model)).close();
    } finally {
      addon.openEncoder = real;
    }
    expect(read).to.include('conv1.weight');
    expect(read.filter((name) => /token_embedding|ln_final|text_projection|logit_scale/.test(name))).to.deep.equal([]);
  });

  it('is waited for by close(), and refused after it', async () => {
    const encoder = await openEncoder(model, { batchSize: 1 });
    const log: string[] = [];
    const encoded = encoder.encodeTexts(texts).then(() => log.push('encoded'));
    const closed = encoder.close().then(() => log.push('closed'));
    expect((await failure(encoder.encodeTexts(texts))).code).to.equal('closed');
    await Promise.all([encoded, closed]);
    expect(log).to.deep.equal(['encoded', 'closed']);
  });

  it('is missed where there is none', async () => {
    for (const ref of ['encoders/dinov2', 'encoders/visual/final.pt', 'encoders/hf-vision-only']) {
      const encoder = await openEncoder(golden(ref));
      const { code, message } = await failure(encoder.encodeTexts(['a']));
      expect(code).to.equal('no_text_tower');
      expect(message).to.include(golden(ref));
      expect(encoder.logitScale).to.equal(null);
      await encoder.close();
    }
  });

  it('is missed where its tokenizer cannot be known', async () => {
    const encoder = await openEncoder(golden('encoders/open-clip'));
    expect((await failure(encoder.encodeTexts(['a']))).code).to.equal('tokenizer_not_found');
    // The next call tries again.
    expect((await failure(encoder.encodeTexts(['a']))).code).to.equal('tokenizer_not_found');
    await encoder.close();
  });
});
