import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { SkippedImages } from '../../../lib/data/skipped.js';
import { failure, inFolder, write } from './images/support.js';

const line = (index: number) => `${JSON.stringify({ index, name: `${index}.jpg`, reason: 'found an empty file' })}\n`;

describe('SkippedImages', () => {
  it('goes on with what a run before it listed, without a line that was cut short', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'skipped.jsonl': `${line(3)}${line(5)}{"ind` });
      const file = join(folder, 'skipped.jsonl');
      const skipped = await SkippedImages.open(file, 2);
      await skipped.add({ index: 5, name: '5.jpg', reason: 'again' });
      expect(skipped.count).to.equal(2);
      expect(await failure(skipped.add({ index: 7, name: '7.jpg', reason: 'found an empty file' }))).to.include({
        code: 'too_many_skipped',
      });
      expect(await readFile(file, 'utf8')).to.equal(line(3) + line(5) + line(7));
    });
  });

  it('refuses a list with lines that are none, and names the first', async () => {
    await inFolder(async (folder) => {
      for (const bad of ['null', '[]', '7', '{"index":"3"}', '{"index":-1,"name":"","reason":""}', 'x']) {
        await write(folder, { 'skipped.jsonl': `${line(3)}${bad}\n` });
        const { code, message } = await failure(SkippedImages.open(join(folder, 'skipped.jsonl'), 2));
        expect(code, bad).to.equal('bad_skipped');
        expect(message).to.include('line 2 of');
      }
    });
  });
});
