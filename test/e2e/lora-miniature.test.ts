import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeConversationScenes } from '../../lib/demo/questions.js';
import { finetune, openLlava, type ValidationLine } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';

const model = join(packageRoot(), 'configs/demo/llava');

/**
 * `npm run demo:lora`, smaller: a model that has never seen anything learns to answer questions about images that are not among those it
 * learnt from.
 */
describe('the miniature of a fine-tuning', () => {
  let work: string;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-miniature-'));
    await writeConversationScenes(work, { train: 300, heldOut: 40, seed: 7, size: 64 });
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  /** Share of questions about the colours of scenes that were held out that are answered to the letter. */
  async function rightColours(adapter?: string): Promise<number> {
    const llava = await openLlava(model, { precision: 'fp32', adapter });
    const records = JSON.parse(readFileSync(join(work, 'held-out.json'), 'utf8')) as {
      image: string;
      conversations: [{ value: string }, { value: string }];
    }[];
    const asked = records.filter(({ conversations: [question] }) => question.value.includes('What colour'));
    let right = 0;
    for (const {
      image,
      conversations: [question, answer],
    } of asked) {
      let text = '';
      for await (const piece of llava.generate({ question: question.value, image: join(work, image), maxNewTokens: 8 })) text += piece;
      if (text.trim() === answer.value) right++;
    }
    await llava.close();
    return right / asked.length;
  }

  it('brings the loss of held-out conversations down, and the right colours up', async function () {
    // Twenty seconds of two cores, and as long again where others work too.
    this.timeout(180_000);
    const before = await rightColours();
    const losses: ValidationLine[] = [];
    const run = finetune({
      model,
      data: join(work, 'train.json'),
      out: join(work, 'run'),
      rank: 16,
      alpha: 32,
      lr: 2e-3,
      projectorLr: 2e-3,
      microBatch: 8,
      gradAccum: 2,
      epochs: 6,
      valFraction: 0.1,
      saveEvery: 0,
      logEvery: 100,
      maxLength: 512,
      precision: 'fp32',
      seed: 1,
    });
    for await (const event of run) if (event.type === 'validation') losses.push(event);
    const adapter = (await run.result).exports[0]!.path;
    const [first, last] = [losses[0]!.val_loss, losses.at(-1)!.val_loss];
    expect(last).to.be.below(0.35 * first);
    // There are seven colours: who sees nothing is right one time in seven.
    expect(before).to.be.below(0.3);
    expect(await rightColours(adapter)).to.be.above(0.45);
  });
});
