import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { writeConversationScenes } from '../../lib/demo/questions.js';
import { drawScene, renderScene, writeScenes } from '../../lib/demo/scenes.js';
import { packageRoot } from '../../lib/package.js';

describe('the README', () => {
  const root = packageRoot();
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const examples = [...readme.matchAll(/```js\n([\s\S]*?)```/g)].map((match) => match[1]!);
  let folder: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'kuea-readme-'));
    await writeScenes(join(folder, 'photos'), 16, 1, 64);
    for (const [i, name] of ['a.jpg', 'b.jpg'].entries())
      await writeFile(join(folder, 'photos', name), await renderScene(drawScene(2, i), 64));
    await writeConversationScenes(folder, { train: 8, heldOut: 1, seed: 1, size: 64 });
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('has an example of each thing that the package does', () => {
    expect(examples.map((code) => /import \{ (\w+) \}/.exec(code)?.[1])).to.deep.equal([
      'align',
      'openEncoder',
      'finetune',
      'openLlava',
      'evaluate',
    ]);
  });

  // In order: each second opens what the one before it made.
  examples.forEach((code, i) => {
    it(`example ${i + 1} runs, on the demo's models and a few scenes`, () => {
      const small = code
        .replace('openai/clip-vit-base-patch16', join(root, 'configs/demo/clip'))
        .replace('facebook/dinov2-with-registers-large', join(root, 'configs/demo/dinov2'))
        .replace('llava-hf/llava-1.5-7b-hf', join(root, 'configs/demo/llava'))
        .replace("data: 'mine.json', images: 'photos'", `data: '${folder}/train.json'`)
        .replace('steps: 100 ', 'steps: 2, rank: 4, alpha: 8, gradAccum: 2, maxLength: 256 ')
        .replace('steps: 1000', 'steps: 2, batchSize: 8')
        .replace("data: 'animals', templates: 'templates.txt'", `data: '${root}/test/golden/eval-tasks/wds', cache: 'off'`)
        .replaceAll("'photos", `'${folder}/photos`)
        .replaceAll("'runs/", `'${folder}/runs/`);
      const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', small], {
        cwd: root,
        encoding: 'utf8',
      });
      expect(status, stderr).to.equal(0);
      expect(stdout.trim().split('\n').at(-1)).to.match(
        [/export\/hf$/, /^true$/, /runs\/llava-from-node\/export$/, /^[\w ]*$/, /^\}$/][i]!,
      );
    });
  });
});
