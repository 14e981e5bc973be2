import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { fromSentencePiece } from '../../../lib/text/sentencepiece.js';
import { openTokenizer, TextTokenizer } from '../../../lib/text/tokenizer.js';
import { failure, golden, goldenJson, inFolder, write } from '../data/images/support.js';
import { dice, field, llamaModel, slowIds } from './support.js';

const llama = new TextTokenizer(fromSentencePiece(llamaModel(), 'tokenizer.model', true), {}, 'tokenizer.model');

describe('TextTokenizer', () => {
  it('gives the ids that SentencePiece gives, for a model with the settings of LLaMA', async () => {
    const { cases } = await goldenJson<{ cases: { text: string; ids: number[]; decoded: string }[] }>('text', 'ids.json');
    const tokenizer = await openTokenizer(golden('text'));
    for (const { text, ids, decoded } of cases) {
      expect(tokenizer.encode(text), JSON.stringify(text)).to.deep.equal(ids);
      expect(tokenizer.decode(ids), JSON.stringify(text)).to.equal(decoded);
    }
    expect([tokenizer.bos, tokenizer.eos, tokenizer.unk, tokenizer.vocabulary]).to.deep.equal([1, 2, 0, 520]);
  });

  it("gives LLaMA's ids on its true vocabulary", () => {
    const system =
      'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite ' +
      "answers to the user's questions.";
    expect(llama.encode(system).join(' ')).to.equal(
      '319 13563 1546 263 12758 1404 322 385 23116 21082 20255 29889 450 20255 4076 8444 29892 13173 29892 322 1248 568 6089 304 278 ' +
        '1404 29915 29879 5155 29889',
    );
    const single = {
      True: 5852,
      False: 7700,
      Yes: 3869,
      No: 1939,
      yes: 4874,
      no: 694,
      A: 319,
      B: 350,
      C: 315,
      D: 360,
      E: 382,
      F: 383,
      G: 402,
      H: 379,
      I: 306,
      J: 435,
      K: 476,
      L: 365,
      M: 341,
      N: 405,
      O: 438,
      P: 349,
    };
    for (const [word, id] of Object.entries(single)) expect(llama.encode(word), word).to.deep.equal([id]);
    expect(llama.encode('\n')).to.deep.equal([29871, 13]);
    expect([':', '?', '.'].map((mark) => llama.encode(`x${mark}`)[1])).to.deep.equal([29901, 29973, 29889]);
    expect(llama.encode('a</s>b<s><unk>')).to.deep.equal([263, 2, 289, 1, 0]);
  });

  it('agrees with llama-tokenizer-js on odd texts', () => {
    const roll = dice(3);
    const parts = [
      'the',
      'quick',
      ' ',
      '  ',
      '    ',
      '\n',
      '\t',
      'αβγ',
      '镇',
      '🦙',
      'Ꙋ',
      'aaaa',
      'bab',
      '1234',
      '====',
      '</s>',
      '<unk>',
      'é',
      '▁',
      '"',
      '-',
      'e',
      's',
    ];
    for (let i = 0; i < 1500; i++) {
      const text = Array.from({ length: 1 + roll(25) }, () => parts[roll(parts.length)]).join('');
      expect(llama.encode(text), JSON.stringify(text)).to.deep.equal(slowIds(text));
    }
  });

  it('reads legacy of tokenizer_config.json: without it, text behind a special token has no dummy space', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'tokenizer.model': llamaModel() });
      expect((await openTokenizer(folder)).encode('a</s>USER')).to.deep.equal([263, 2, 3148, 1001]);
      await write(folder, { 'tokenizer_config.json': '{"legacy": false}' });
      expect((await openTokenizer(folder)).encode('a</s>USER')).to.deep.equal([263, 2, 11889]);
      // A tokenizer.json goes before it; llava-hf's own tokens are text in it.
      const json = fromSentencePiece(llamaModel(), '', true) as { added_tokens: object[] };
      json.added_tokens.push(
        { id: 32000, content: '<image>', special: true, normalized: false },
        { id: 32001, content: '<pad>', special: true, normalized: false },
      );
      await write(folder, { 'tokenizer.json': JSON.stringify(json) });
      const hf = await openTokenizer(folder);
      expect([hf.encode('<image>'), hf.vocabulary]).to.deep.equal([slowIds('<image>'), 32000]);
    });
  });

  it('decodes as ids come: whole characters, and spaces where they belong', () => {
    for (const text of ['A cat.', 'Two  spaces\n\nand 镇 🦙🦙 Ꙋ!', 'é', '', 'a  ']) {
      const ids = llama.encode(text);
      const stream = llama.stream();
      const pieces = ids.map((id) => stream.push(id));
      for (const piece of pieces) expect(piece).not.to.include('\ufffd');
      expect(pieces.join('') + stream.end()).to.equal(text);
    }
    const cut = llama.stream();
    const ids = llama.encode('🦙').slice(0, -1);
    expect(ids.map((id) => cut.push(id)).join('')).to.equal('');
    expect(cut.end()).to.include('\ufffd');
    const stream = llama.stream();
    expect([319, 6635, 2].map((id) => stream.push(id))).to.deep.equal(['A', ' cat', '']);
  });

  it('decodes ids that it lacks to nothing where it has no token for them', () => {
    const json = fromSentencePiece(llamaModel(), '', true);
    const bare = new TextTokenizer({ ...json, model: { ...(json['model'] as object), unk_token: null } }, {}, '');
    expect(bare.decode([40_000])).to.equal('');
    expect(bare.decode([319, 40_000, 6635])).to.equal('A cat');
  });

  it('refuses what is no tokenizer of this kind', async () => {
    await inFolder(async (folder) => {
      expect((await failure(openTokenizer(folder))).code).to.equal('tokenizer_not_found');
      const refused = async (files: Record<string, Uint8Array | string>, message: string) => {
        await write(folder, files);
        const error = await failure(openTokenizer(folder));
        expect(error.code).to.equal('bad_tokenizer');
        expect(error.message).to.include(message);
      };
      const model = await readFile(golden('text', 'tokenizer.model'));
      await refused({ 'tokenizer.model': '' }, 'no pieces');
      await refused({ 'tokenizer.model': 'version https://git-lfs' }, 'damaged or other file');
      for (const length of [1, 100, 1001, model.length - 1])
        await refused({ 'tokenizer.model': model.subarray(0, length) }, join(folder, 'tokenizer.model'));
      await refused({ 'tokenizer.model': Buffer.concat([model, field(2, field(3, 1))]) }, 'model_type 1');
      await refused({ 'tokenizer.model': Buffer.concat([model, field(3, field(2, Buffer.from('map')))]) }, 'other normalisation');
      await refused({ 'tokenizer.model': field(1, field(1, Buffer.from('a'.repeat(5000)))) }, 'a piece of 5000 characters');
      await refused({ 'tokenizer.json': '{"model"' }, 'tokenizer.json');
      await refused({ 'tokenizer.json': '{}' }, 'cannot be read');

      const whole = fromSentencePiece(model, '', true);
      const changed = (change: Record<string, unknown>) => ({ 'tokenizer.json': JSON.stringify({ ...whole, ...change }) });
      const bpe = whole['model'] as Record<string, unknown>;
      const regex = { pattern: { Regex: '(a+)+$' }, behavior: 'Isolated' };
      const grow = { type: 'Replace', pattern: { String: 'a' }, content: 'aaaa' };
      await refused(changed({ model: { ...bpe, vocab: { a: 1e9 } } }), 'model.vocab');
      await refused(changed({ added_tokens: [{ id: 1e9, content: '</s>' }] }), 'added_tokens.0.id');
      await refused(changed({ added_tokens: [{ id: 3, content: '' }] }), 'added_tokens.0.content');
      await refused(changed({ pre_tokenizer: { type: 'Split', ...regex } }), 'pre_tokenizer');
      await refused(changed({ pre_tokenizer: { type: 'FixedLength', length: 0 } }), 'pre_tokenizer');
      await refused(changed({ normalizer: { type: 'Replace', ...regex, content: '' } }), 'normalizer');
      await refused(changed({ normalizer: { type: 'Sequence', normalizers: new Array(40).fill(grow) } }), 'normalizer');
      await refused({ ...changed({}), 'tokenizer_config.json': '{"eos_token": 5}' }, 'eos_token is 5');
    });
  });
});
