/**
 * npm run demo: sets up what is missing, draws a folder of scenes, and aligns the tiny CLIP of configs/demo to the tiny DINOv2 beside it,
 * each time from the start in a new folder runs/demo-N. Arguments go to kuea-align: npm run demo -- --steps 50.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { environment, root, setUp } from './setup.mjs';

const scenes = { folder: 'runs/demo-scenes', count: 1536, seed: 0, pixels: 96 };

async function drawScenes() {
  const { folder, count, seed, pixels } = scenes;
  if (existsSync(join(root, folder, 'metadata.jsonl'))) return;
  const { writeScenes } = await import('../dist/lib/demo/scenes.js');
  rmSync(join(root, folder), { recursive: true, force: true });
  await writeScenes(join(root, folder), count, seed, pixels);
  console.log(`drew ${count} scenes of coloured shapes into ${folder}`);
}

function newRun() {
  let n = 1;
  while (existsSync(join(root, 'runs', `demo-${n}`))) n += 1;
  return `runs/demo-${n}`;
}

/** Exit code of kuea-align, which shares this terminal: Ctrl-C reaches it directly, and this process only waits for it. */
function align(out) {
  const child = spawn(
    process.execPath,
    ['dist/lib/cli/kuea-align.cjs', '--config', 'configs/demo.yaml', '--out', out, ...process.argv.slice(2)],
    { cwd: root, env: environment, stdio: 'inherit' },
  );
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** What became of the loss: one batch's kernel loss is noisy, so the last fifth of the logged steps is averaged. */
function summary(out) {
  const lines = readFileSync(join(root, out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const last = lines.slice(-Math.ceil(lines.length / 5));
  const mean = last.reduce((sum, line) => sum + line.kernel_loss, 0) / last.length;
  return `kernel loss: ${lines[0].kernel_loss.toFixed(4)} at first, ${mean.toFixed(4)} at last; the aligned CLIP is in ${out}/export`;
}

try {
  setUp();
  await drawScenes();
  const out = newRun();
  process.exitCode = await align(out);
  if (process.exitCode === 0 && existsSync(join(root, out, 'metrics.jsonl'))) console.log(summary(out));
} catch (error) {
  console.error(`demo: ${error.message}`);
  process.exitCode = 1;
}
