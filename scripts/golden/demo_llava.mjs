/** Scenes in words, questions and answers for demo_llava.py, and the tokenizer that knows their words: demo_llava.mjs DIR */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { questions, sceneTokenizer } from '../../dist/lib/demo/questions.js';
import { drawScene, placeOf } from '../../dist/lib/demo/scenes.js';
import { system } from '../../dist/lib/text/vicuna.js';

const [folder] = process.argv.slice(2);
// Not the seeds of the demo's images or of the miniature's.
const seed = 17;
const lines = Array.from({ length: 12000 }, (_, index) => drawScene(seed, index)).flatMap((scene) => {
  const told = scene.objects.map((object) => `${object.colour} ${object.shape} ${placeOf(object)}`).join(' ');
  return questions(scene).map(({ question, answer }) =>
    JSON.stringify({ prompt: `${system} USER: ${told} ${question} ASSISTANT:`, answer }),
  );
});
mkdirSync(folder, { recursive: true });
const { tokenizer, config } = sceneTokenizer();
writeFileSync(join(folder, 'told.jsonl'), `${lines.join('\n')}\n`);
writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
