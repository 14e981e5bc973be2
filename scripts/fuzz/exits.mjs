/**
 * node scripts/fuzz/exits.mjs [--exits 200] [--workers 40] [--jobs 3]
 *
 * Ends processes while they align, tune, encode or open models: by process.exit, an uncaught exception, an unhandled rejection or a second
 * signal, each at another moment; and workers while they compute. Prints one JSON line {exits, kept, workers, alive, wrong: [[what, how,
 * after, what ended it]]}, and fails where an exit code was not kept.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { environment, root } from '../setup.mjs';

const { values } = parseArgs({
  options: {
    exits: { type: 'string', default: '200' },
    workers: { type: 'string', default: '40' },
    jobs: { type: 'string', default: '3' },
  },
});
const program = join(root, 'dist', 'test', 'process', 'exiting.js');
const works = ['align', 'lora', 'encode', 'open'];
const codes = { exit: 7, throw: 1, reject: 1, signals: 130 };
const work = mkdtempSync(join(tmpdir(), 'kuea-exits-'));

const end = (what, how, after) =>
  new Promise((resolve) => {
    const folder = mkdtempSync(join(work, 'case-'));
    const child = spawn(process.execPath, [program, what, how, String(after), folder], { stdio: 'ignore', env: environment });
    child.on('close', (code, signal) => resolve(code ?? signal));
  });

const count = Number(values.exits);
const wrong = [];
let next = 0;
async function run() {
  while (next < count) {
    const i = next++;
    const what = works[i % works.length];
    const [how, expected] = Object.entries(codes)[Math.floor(i / works.length) % 4];
    const after = (i * 37) % 101;
    const ended = await end(what, how, after);
    if (ended !== expected) wrong.push([what, how, after, ended]);
  }
}

try {
  await Promise.all(Array.from({ length: Number(values.jobs) }, run));
  const workers = Number(values.workers);
  const ended = workers > 0 ? await end('workers', '', workers) : 0;
  console.log(JSON.stringify({ exits: count, kept: count - wrong.length, workers, alive: ended === 0 || ended, wrong }));
  if (wrong.length > 0 || ended !== 0) process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
