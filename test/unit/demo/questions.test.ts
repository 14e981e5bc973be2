import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { openSamples } from '../../../lib/data/conversations/open.js';
import { questions, sceneTokenizer, writeConversationScenes } from '../../../lib/demo/questions.js';
import { drawScene, placeOf } from '../../../lib/demo/scenes.js';
import { TextTokenizer } from '../../../lib/text/tokenizer.js';
import type { Turn } from '../../../lib/text/vicuna.js';
import { failure, inFolder } from '../data/images/support.js';

const { tokenizer: json, config, vocabulary } = sceneTokenizer();
const tokenizer = new TextTokenizer(json, config, 'scenes');

interface LlavaRecord {
  id: string;
  image: string;
  conversations: Turn[];
}

describe('scenes with questions', () => {
  it('have answers that are true', () => {
    for (let index = 0; index < 200; index++) {
      const scene = drawScene(5, index);
      const asked = questions(scene);
      expect(asked.length).to.be.at.least(2);
      for (const { question, answer } of asked) {
        const named = scene.objects.filter(
          ({ colour, shape }) => question.includes(shape) && (question.startsWith('What colour') || question.includes(colour)),
        );
        if (question.startsWith('How many shapes')) expect(answer).to.equal(`${scene.objects.length}`);
        else if (question.startsWith('How many')) expect(answer).to.equal(`${named.length}`);
        else if (question.startsWith('What colour'))
          expect(new Set(named.map(({ colour }) => colour)), question).to.deep.equal(new Set([answer]));
        else expect(named.map(placeOf), question).to.deep.equal([answer]);
      }
    }
  });

  it('are in the vocabulary of their tokenizer, to and fro', () => {
    for (let index = 0; index < 200; index++) {
      for (const { question, answer } of questions(drawScene(5, index))) {
        const ids = tokenizer.encode(`${question} ${answer}`);
        expect(ids).not.to.include(tokenizer.unk);
        expect(Math.max(...ids)).to.be.below(vocabulary);
        expect(tokenizer.decode(tokenizer.encode(answer))).to.equal(answer);
      }
    }
    expect([tokenizer.unk, tokenizer.bos, tokenizer.eos]).to.deep.equal([0, 1, 2]);
  });

  it("are written in LLaVA's schema, those held out a question a record", async () => {
    await inFolder(async (folder) => {
      await writeConversationScenes(folder, { train: 6, heldOut: 3, seed: 5, size: 28 });
      const records = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8')) as LlavaRecord[];
      const [train, heldOut] = [await records('train.json'), await records('held-out.json')];
      expect(train.map(({ id }) => id)).to.deep.equal(['scene-0', 'scene-1', 'scene-2', 'scene-3', 'scene-4', 'scene-5']);
      for (const [index, { conversations }] of train.entries()) {
        const asked = questions(drawScene(5, index));
        expect(conversations.length).to.equal(2 * asked.length);
        expect(conversations[0]!.value).to.equal(`<image>\n${asked[index % asked.length]!.question}`);
      }
      expect(heldOut.map(({ image, conversations }) => [image, conversations.map(({ value }) => value)])).to.deep.equal(
        [6, 7, 8].flatMap((index) =>
          questions(drawScene(5, index)).map(({ question, answer }) => [
            `images/scene-00000${index}.jpg`,
            [`<image>\n${question}`, answer],
          ]),
        ),
      );
      const source = await openSamples(join(folder, 'train.json'), {
        size: 28,
        aspect: 'pad',
        tokenizer,
        patches: 4,
        maxLength: 512,
        missing: 'error',
        verifyImages: true,
      });
      expect([source.length, source.skipped]).to.deep.equal([6, 0]);
      await source.close();
      expect((await failure(writeConversationScenes(folder, { train: 0, heldOut: 1, seed: 0, size: 28 }))).code).to.equal('bad_argument');
    });
  });
});
