import { expect } from 'chai';

import { KueaError } from '../../../lib/errors.js';
import { fromSentencePiece } from '../../../lib/text/sentencepiece.js';
import { TextTokenizer } from '../../../lib/text/tokenizer.js';
import { checkTurns, encodeConversation, encodePrompt, spliceImages, type Turn, UnusableConversation } from '../../../lib/text/vicuna.js';
import { dice, llamaModel, slowIds } from './support.js';

const model = llamaModel();
const legacy = new TextTokenizer(fromSentencePiece(model, '', true), {}, '');
const system =
  'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to ' +
  "the user's questions.";

const conversation = (...values: string[]): Turn[] => values.map((value, i) => ({ from: i % 2 === 0 ? 'human' : 'gpt', value }));
const learnt = (labels: readonly number[]) => labels.flatMap((label, i) => (label === -100 ? [] : [i]));

/**
 * The reference's way: the whole string, cut at the image; labels by counting the tokens of prefixes. Null where it masks the whole sample.
 */
function reference(turns: readonly Turn[], image: boolean): { ids: number[]; labels: number[] | null } {
  let text = `${system} `;
  for (const { from, value } of turns) {
    const message = image && value.includes('<image>') ? `<image>\n${value.replaceAll('<image>', '').trim()}`.trim() : value;
    const role = from === 'human' ? 'USER' : 'ASSISTANT';
    text += message === '' ? `${role}:` : `${role}: ${message}${from === 'human' ? ' ' : '</s>'}`;
  }
  const cut = (part: string) => [
    1,
    ...(image ? part.split('<image>').flatMap((piece, i) => [...(i > 0 ? [-200] : []), ...slowIds(piece)]) : slowIds(part)),
  ];
  const ids = cut(text);
  const labels = [...ids];
  labels[0] = -100;
  let at = 1;
  for (const round of text.split('</s>')) {
    if (round === '') break;
    const parts = round.split(' ASSISTANT: ');
    if (parts.length !== 2) break;
    labels.fill(-100, at, at + cut(`${parts[0]!} ASSISTANT: `).length - 2);
    at += cut(round).length;
  }
  return { ids, labels: at === ids.length ? labels : null };
}

describe('vicuna_v1', () => {
  it('gives the ids and labels of the published tokenizer', () => {
    const turns = conversation('<image>\nWhat is it?', 'A cat.', 'What color?', '42 black cats');
    const { ids, labels } = encodeConversation(legacy, turns, true);
    expect(ids.slice(31).join(' ')).to.equal(
      '3148 1001 29901 29871 -200 29871 13 5618 338 372 29973 319 1799 9047 13566 29901 319 6635 29889 2 3148 1001 29901 1724 2927 ' +
        '29973 319 1799 9047 13566 29901 29871 29946 29906 4628 274 1446 2',
    );
    expect(ids).to.have.length(69);
    expect(learnt(labels)).to.deep.equal([47, 48, 49, 50, 62, 63, 64, 65, 66, 67, 68]);
    expect(learnt(labels).map((i) => labels[i])).to.deep.equal(learnt(labels).map((i) => ids[i]));

    const modern = encodeConversation(new TextTokenizer(fromSentencePiece(model, '', false), {}, ''), turns, true);
    expect(modern.ids).to.have.length(68);
    expect(modern.ids.slice(50, 53)).to.deep.equal([2, 11889, 29901]);
    expect(learnt(modern.labels)).to.deep.equal([47, 48, 49, 50, 61, 62, 63, 64, 65, 66, 67]);
  });

  it('gives the ids of a prompt', () => {
    const question = 'What is it?\nAnswer the question using a single word or phrase.';
    const ids = encodePrompt(legacy, `<image>\n${question}`, { image: true });
    expect(ids).to.have.length(58);
    expect(spliceImages(ids, 576).tokens).to.have.length(633);
    // The image's place may be left out, or stand at the end, as in the data.
    expect(encodePrompt(legacy, question, { image: true })).to.deep.equal(ids);
    expect(encodePrompt(legacy, `${question}\n<image>`, { image: true })).to.deep.equal(ids);
    expect(encodePrompt(legacy, question, { image: false })).not.to.include(-200);
    expect(encodePrompt(legacy, 'Hi', { image: false, system: false })).to.deep.equal([1, ...slowIds('USER: Hi ASSISTANT:')]);
    expect(() => encodePrompt(legacy, '<image><image>', { image: true }))
      .to.throw(KueaError)
      .with.property('code', 'bad_prompt');
    const { tokens, imageRows } = spliceImages([1, -200, 5], 3);
    expect([[...tokens], [...imageRows]]).to.deep.equal([
      [1, -200, -200, -200, 5],
      [0, 1, 2],
    ]);
  });

  it("equals the reference's ids and labels on random conversations", () => {
    const roll = dice(9);
    const parts = [
      'What',
      'is',
      'ASSISTANT',
      'USER:',
      '</s>',
      ' ',
      '\n',
      '42',
      'a',
      'ü',
      '🦙',
      '"',
      '.',
      ' ?',
      '</image>',
      '##',
      '-',
      '  ',
    ];
    const text = () => Array.from({ length: 1 + roll(8) }, () => parts[roll(parts.length)]).join(roll(2) ? ' ' : '');
    let compared = 0;
    for (let i = 0; i < 600; i++) {
      const image = roll(2) === 1;
      const turns = conversation(...Array.from({ length: 2 * (1 + roll(3)) }, text));
      if (image) turns[0]!.value = roll(2) ? `<image>\n${turns[0]!.value}` : `${turns[0]!.value}\n<image>`;
      const expected = reference(turns, image);
      const { ids, labels } = encodeConversation(legacy, turns, image);
      expect(ids, JSON.stringify(turns)).to.deep.equal(expected.ids);
      if (!expected.labels) continue;
      expect(labels, JSON.stringify(turns)).to.deep.equal(expected.labels);
      compared++;
    }
    expect(compared).to.be.above(200);
  });

  it('learns every answer where the reference would mask the whole sample, on the same ids', () => {
    const answers = (turns: Turn[]) => {
      const { ids, labels } = encodeConversation(legacy, turns, false);
      const expected = reference(turns, false);
      expect(expected.labels).to.equal(null);
      expect(ids).to.deep.equal(expected.ids);
      return learnt(labels).map((i) => ids[i]);
    };
    expect(answers(conversation('Say ASSISTANT: now', 'Now.'))).to.deep.equal([...slowIds('Now.'), 2]);
    expect(answers(conversation('Say it', 'a</s>b'))).to.deep.equal([...slowIds('a'), 2, ...slowIds('b'), 2]);
    expect(answers(conversation('Say it', 'Yes.', 'And now?'))).to.deep.equal([...slowIds('Yes.'), 2]);
    expect(answers(conversation('Say it', 'Yes.', 'And now?', ''))).to.deep.equal([...slowIds('Yes.'), 2]);

    // Neither an answer that names a role nor an empty one before another throws the count off.
    for (const turns of [conversation('Say it', 'USER: hm'), conversation('Say it', '', 'And now?', 'Yes.')]) {
      expect(encodeConversation(legacy, turns, false)).to.deep.equal(reference(turns, false));
    }
    // A question that ends with the role makes it learn the role, too.
    const ending = conversation('Say ASSISTANT:', 'Now.');
    expect(learnt(reference(ending, false).labels!)).to.have.length(learnt(encodeConversation(legacy, ending, false).labels).length + 5);
  });

  it('drops <unk> that is written out, as the attention mask of the reference does', () => {
    const { ids, labels } = encodeConversation(legacy, conversation('a <unk> b', 'c<unk>'), false);
    expect(ids).to.deep.equal(reference(conversation('a <unk> b', 'c<unk>'), false).ids.filter((id) => id !== 0));
    expect(labels).to.have.length(ids.length);
  });

  it('takes <image> for text where there is no image', () => {
    expect(encodeConversation(legacy, conversation('What is <image>?', 'A tag.'), false).ids).to.deep.equal(
      reference(conversation('What is <image>?', 'A tag.'), false).ids,
    );
  });

  it('says what makes a conversation unusable', () => {
    const reason = (turns: unknown, image = true) => {
      try {
        checkTurns(turns, image);
      } catch (error) {
        if (error instanceof UnusableConversation) return error.message;
        throw error;
      }
      return undefined;
    };
    const good = conversation('<image>\nq', 'a');
    expect(reason(good)).to.equal(undefined);
    for (const none of [undefined, null, [], 'text', {}]) expect(reason(none)).to.equal('no conversation');
    expect(reason([{ from: 'human' }])).to.equal('turn 1 without text');
    expect(reason([good[0], null])).to.equal('turn 2 without text');
    expect(reason([good[0], good[0]])).to.equal('a turn from "human" where one from "gpt" is due');
    expect(reason([good[0], { from: 'system', value: '' }])).to.include('"system"');
    expect(reason(conversation('<image>q', 'a <image>'))).to.equal('<image> in an answer');
    expect(reason(conversation('q', 'a'))).to.equal('0 times <image> with one image');
    expect(reason(conversation('<image>q', 'a', '<image>', 'b'))).to.equal('2 times <image> with one image');
    expect(reason(conversation('q', 'a <image>'), false)).to.equal(undefined);
    for (const turns of [conversation('<image>q'), conversation('<image>q', ''), conversation('<image>q', '', 'r', '')])
      expect(reason(turns)).to.equal('no answer to learn');
    // A conversation that starts with gpt goes on from the human.
    expect(checkTurns([{ from: 'gpt', value: 'Hello' }, ...good], true)).to.deep.equal(good);
    expect(reason(conversation('a', 'b'.repeat(1 << 18)), false)).to.include('of 262145 characters');
    expect(reason([good[0], { from: { a: 'x'.repeat(1e6) }, value: '' }])).to.have.length.below(300);
    expect(reason([{ from: 'gpt', value: 'Hello' }, good[1]])).to.equal('a turn from "gpt" where one from "human" is due');
    expect(reason([{ from: 'gpt', value: 'Hello' }])).to.equal('no answer to learn');
  });
});
