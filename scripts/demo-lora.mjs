/**
 * npm run demo:lora: sets up what is missing, draws scenes with questions and answers, and teaches the tiny LLaVA of configs/demo to answer
 * them; asks it about other scenes before and after. Each time from the start, in a new folder runs/demo-lora-N. Arguments go to kuea-lora:
 * npm run demo:lora -- --epochs 2.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { environment, root, setUp } from './setup.mjs';

const scenes = { folder: join(root, 'runs/demo-conversations'), train: 4000, heldOut: 200, seed: 7, size: 64 };

async function drawScenes() {
  const { folder, ...what } = scenes;
  if (existsSync(join(folder, 'held-out.json'))) return;
  const { writeConversationScenes } = await import('../dist/lib/demo/questions.js');
  rmSync(folder, { recursive: true, force: true });
  await writeConversationScenes(folder, what);
  console.log(`drew ${what.train} scenes to learn from and ${what.heldOut} to be asked about into ${folder}`);
}

/** Share of the questions about the held-out scenes that are answered to the letter, in per cent. */
async function rightAnswers(adapter) {
  const { openLlava } = await import('../dist/lib/index.js');
  const llava = await openLlava(join(root, 'configs/demo/llava'), { precision: 'fp32', ...(adapter ? { adapter } : {}) });
  const records = JSON.parse(readFileSync(join(scenes.folder, 'held-out.json'), 'utf8'));
  let right = 0;
  for (const {
    image,
    conversations: [question, answer],
  } of records) {
    let text = '';
    for await (const piece of llava.generate({ question: question.value, image: join(scenes.folder, image), maxNewTokens: 8 }))
      text += piece;
    if (text.trim() === answer.value) right += 1;
  }
  await llava.close();
  return `${((100 * right) / records.length).toFixed(1)} % of ${records.length} questions`;
}

function newRun() {
  let n = 1;
  while (existsSync(join(root, 'runs', `demo-lora-${n}`))) n += 1;
  return `runs/demo-lora-${n}`;
}

/** Exit code of kuea-lora, which shares this terminal: Ctrl-C reaches it directly, and this process only waits for it. */
function tune(out) {
  const child = spawn(
    process.execPath,
    ['dist/lib/cli/kuea-lora.cjs', '--config', 'configs/demo-lora.yaml', '--out', out, ...process.argv.slice(2)],
    { cwd: root, env: environment, stdio: 'inherit' },
  );
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

try {
  setUp();
  await drawScenes();
  const out = newRun();
  const before = await rightAnswers();
  process.exitCode = await tune(out);
  if (process.exitCode === 0 && existsSync(join(root, out, 'export')))
    console.log(`right answers: ${before} before, ${await rightAnswers(join(root, out, 'export'))} after; the adapter is in ${out}/export`);
} catch (error) {
  console.error(`demo:lora: ${error.message}`);
  process.exitCode = 1;
}
