import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { readTensors } from '../../../../lib/files/read-tensors.js';
import { toBytes } from '../../../../lib/files/tensors.js';
import { type MergeOptions, mergeAdapter } from '../../../../lib/models/llava/merge.js';
import { openLlava } from '../../../../lib/models/llava/open.js';
import type { Json } from '../../../../lib/models/model-folder.js';
import { loadAddon } from '../../../../lib/native/load.js';
import { packageRoot } from '../../../../lib/package.js';
import { bytesOf, changed, expected, failure, golden, hashes, manifest } from './support.js';

/** Numbers of an F16 array. */
function halves(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = bytes.readUInt16LE(2 * i);
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
    return bits & 0x8000 ? -size : size;
  });
}

describe('merging an adapter', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-merge-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  let made = 0;
  async function merge(base: string, to: 'original' | 'hf', options: MergeOptions = {}): Promise<string> {
    const out = join(work, `merged-${made++}`);
    const adapter = golden('adapter-original');
    await mergeAdapter(loadAddon(), await openLlava(base, { adapter }), out, to, options);
    return out;
  }

  const json = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8')) as Json;

  for (const base of ['original', 'original-tower', 'hf-old', 'hf-newest']) {
    for (const to of ['original', 'hf'] as const) {
      it(`${base} to ${to}: what peft makes of the linear maps, all else as it was`, async () => {
        const { model, layout, adapter, dtype, image } = await openLlava(await merge(golden(base), to));
        const before = await openLlava(golden(base));
        expect([layout, adapter, dtype, image]).to.deep.equal([to === 'hf' ? 'hf-old' : 'original', null, 'F16', before.image]);
        for (const [name, text] of Object.entries(manifest.merged)) {
          const theirs = Buffer.from(text, 'base64');
          halves(bytesOf(model.weights.find(({ parameter }) => parameter === name)!.source)).forEach((value, i) => {
            const exact = theirs.readFloatLE(4 * i);
            // Half a unit in the last of 11 bits, and peft's own fp32 rounding of a number in the middle.
            expect(Math.abs(value - exact)).to.be.at.most(Math.max(2 ** -25, Math.abs(exact) * 2 ** -11 * 1.001), `${name} ${i}`);
          });
        }
        const [after, was] = [hashes(model.weights), { ...expected(model.llama.vocabulary), ...manifest.projector }];
        const same = Object.keys(was).filter((name) => !/layers\.\d\.(self_attn|mlp)\./.test(name));
        // The fp32 projector stays fp32; embeddings and head may have other rows, which the next test looks at.
        for (const name of same.filter((n) => n !== 'model.embed_tokens.weight' && n !== 'lm_head.weight'))
          expect(after[name], name).to.equal(was[name]);
        if (to === 'original')
          expect([after['lm_head.weight'], after['model.embed_tokens.weight']]).to.deep.equal([
            manifest.parameters['lm_head.weight'],
            manifest.parameters['model.embed_tokens.weight'],
          ]);
      });
    }
  }

  it('changes no answer: merged in either layout, or beside its base', async () => {
    const answer = async (ref: string, adapterRef?: string) => {
      const { model, adapter, patches } = await openLlava(ref, { adapter: adapterRef });
      const lora = adapter && { rank: adapter.rank, alpha: adapter.alpha, weights: adapter.weights, seed: 0 };
      const llava = await loadAddon().openLlava({ ...model, basePrecision: 'fp32', precision: 'fp32', lora, device: 'cpu' });
      try {
        const tokens = Int32Array.of(1, 7, ...Array<number>(patches).fill(-200), 12, 30);
        const pixels = Uint8Array.from({ length: 3 * 64 }, (_, i) => (i * 37) % 256);
        const ids = [await llava.prefill({ tokens, imageRows: Int32Array.from({ length: patches }, (_, i) => i), pixels, images: 1 })];
        while (ids.length < 12) ids.push(await llava.next(ids.at(-1)!));
        return ids;
      } finally {
        await llava.close();
      }
    };
    const unmerged = await answer(golden('original'), golden('adapter-original'));
    expect(await answer(golden('original'))).to.not.deep.equal(unmerged);
    for (const to of ['original', 'hf'] as const) expect(await answer(await merge(golden('original'), to))).to.deep.equal(unmerged);
  });

  it('gives a vocabulary of the original two tokens and a round number of rows, copies of <unk>', async () => {
    const { model, imageToken } = await openLlava(await merge(golden('original'), 'hf'));
    expect([model.llama.vocabulary, imageToken]).to.deep.equal([64, manifest.vocabulary]);
    for (const name of ['model.embed_tokens.weight', 'lm_head.weight']) {
      const bytes = bytesOf(model.weights.find(({ parameter }) => parameter === name)!.source);
      const row = (i: number) => bytes.subarray(32 * i, 32 * i + 32);
      for (let i = manifest.vocabulary; i < 64; i++) expect(row(i).equals(row(0))).to.equal(true);
    }
    const same = (await openLlava(await merge(golden('hf-old'), 'hf'))).model.llama.vocabulary;
    expect(same).to.equal(manifest.rows);
  });

  it('writes shards of at most a size, with an index', async () => {
    const [one, several] = [await merge(golden('hf-old'), 'hf'), await merge(golden('hf-old'), 'hf', { shardBytes: 20_000 })];
    const files = readdirSync(several).filter((name) => name.endsWith('.safetensors'));
    expect(files.length).to.be.greaterThan(3);
    expect(files[0]).to.equal(`model-00001-of-0000${files.length}.safetensors`);
    const read = async (file: string) =>
      new Map(Array.from((await readTensors(file)).tensors, ([name, tensor]) => [name, bytesOf(toBytes(name, tensor)).toString('base64')]));
    const index = join(several, 'model.safetensors.index.json');
    expect(await read(index)).to.deep.equal(await read(join(one, 'model.safetensors')));
    const bytes = [...(await read(index)).values()].reduce((sum, text) => sum + Buffer.from(text, 'base64').length, 0);
    expect(json(index)['metadata']).to.deep.equal({ total_size: bytes });
  });

  it('leaves the tower out of the original layout and names it, unless it is asked for or has no name', async () => {
    const tower = async (folder: string) =>
      [...(await readTensors(join(folder, 'model.safetensors'))).tensors.keys()].filter((name) => name.includes('vision_tower')).length;
    const without = await merge(golden('original'), 'original');
    expect([await tower(without), json(without, 'config.json')['mm_vision_tower']]).to.deep.equal([0, golden('tower-hf')]);
    const included = await merge(golden('original'), 'original', { includeTower: true });
    expect(await tower(included)).to.equal(await tower(await merge(golden('original-tower'), 'original')));
    expect(await tower(included)).to.equal(39);
  });

  it('keeps ln_post where it can be kept, and refuses to lose it', async () => {
    const llava = await openLlava(golden('original'), { feature: 'ln_post', adapter: golden('adapter-original') });
    const out = join(work, 'ln-post');
    await mergeAdapter(loadAddon(), llava, out, 'original');
    expect((await openLlava(out)).model.feature).to.equal('ln_post');
    expect(await failure(mergeAdapter(loadAddon(), llava, join(work, 'lost'), 'hf'))).to.include({ code: 'unsupported_merge' });
    expect(await failure(mergeAdapter(loadAddon(), llava, out, 'original'))).to.include({ code: 'exists' });
  });

  it('copies the tokenizer, with <image> and <pad> for llava-hf', async () => {
    const base = changed(work, 'original', {});
    const word = { id: 39, content: '</s>', special: true };
    writeFileSync(join(base, 'tokenizer.json'), JSON.stringify({ model: { type: 'BPE' }, added_tokens: [word] }));
    writeFileSync(join(base, 'tokenizer_config.json'), JSON.stringify({ legacy: true, added_tokens_decoder: { 2: { content: '</s>' } } }));
    const out = await merge(base, 'hf');
    expect((json(out, 'tokenizer.json')['added_tokens'] as Json[]).map(({ id, content }) => [id, content])).to.deep.equal([
      [39, '</s>'],
      [40, '<image>'],
      [41, '<pad>'],
    ]);
    expect(Object.keys(json(out, 'tokenizer_config.json')['added_tokens_decoder'] as Json)).to.deep.equal(['2', '40', '41']);
    expect(json(out, 'preprocessor_config.json')).to.include({ image_processor_type: 'LlavaImageProcessor', do_pad: true });
    expect(json(await merge(base, 'original'), 'tokenizer.json')).to.deep.equal(json(base, 'tokenizer.json'));

    // SentencePiece's model alone becomes a tokenizer.json, which puts <s> before a text.
    rmSync(join(base, 'tokenizer.json'));
    cpSync(join(packageRoot(), 'test/golden/text/tokenizer.model'), join(base, 'tokenizer.model'));
    const { added_tokens: added, post_processor: processor } = json(await merge(base, 'hf'), 'tokenizer.json');
    expect((added as Json[]).map(({ content }) => content)).to.include.members(['<s>', '</s>', '<image>', '<pad>']);
    expect((processor as Json)['single']).to.deep.equal([
      { SpecialToken: { id: '<s>', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
    ]);
  });

  it('that fails leaves nothing', async () => {
    const llava = await openLlava(golden('original'), { adapter: golden('adapter-original') });
    const full = { writeTensors: () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' })) };
    const before = readdirSync(work);
    expect(await failure(mergeAdapter(full, llava, join(work, 'full'), 'hf'))).to.include({ code: 'disk_full' });
    expect(readdirSync(work)).to.deep.equal(before);
  });
});
