/**
 * node scripts/bench/align.mjs --peer DIR [--repeat 3]
 *
 * The training loop against an eager PyTorch one in one sitting. DIR holds what that loop wrote: student/ and teacher/ (Hugging Face),
 * batches.safetensors and trace.json {args: {batch, steps}, trace: [{loss}], images_per_second}. Runs kuea-align on the same weights,
 * pixels and options: fp32 without a cache, and bf16 with a warm cache, `repeat` times over the batches. Prints one JSON line; images a
 * second are medians over steps, the first left out.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { peer: { type: 'string' }, repeat: { type: 'string', default: '3' } } });
const program = resolve(dirname(fileURLToPath(import.meta.url)), '../../dist/lib/cli/kuea-align.cjs');
const peer = JSON.parse(readFileSync(join(values.peer, 'trace.json'), 'utf8'));
const { batch, steps } = peer.args;
const work = mkdtempSync(join(tmpdir(), 'kuea-bench-'));
const cache = join(work, 'cache');

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

function run(name, count, ...options) {
  const out = join(work, name);
  const same = [
    '--no-shuffle',
    '--scheduler',
    'constant',
    '--kernel-params',
    'fixed',
    '--gamma',
    '0.0032',
    '--coef0',
    '0.191623',
    '--w',
    '0.5',
    '--lr',
    '1e-5',
  ];
  const args = [
    '--student',
    join(values.peer, 'student'),
    '--teacher',
    join(values.peer, 'teacher'),
    '--data',
    join(values.peer, 'batches.safetensors'),
    '--out',
    out,
  ];
  const { status } = spawnSync(
    process.execPath,
    [program, ...args, ...same, '--batch-size', `${batch}`, '--steps', `${count}`, '--log-every', '1', '--save-every', '0', ...options],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  if (status !== 0) throw new Error(`${name} failed`);
  const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const worst = Math.max(...lines.slice(0, steps).map(({ loss }, i) => Math.abs(loss - peer.trace[i].loss) / Math.abs(peer.trace[i].loss)));
  rmSync(out, { recursive: true });
  return { images_per_second: median(lines.slice(1).map((line) => line.images_per_second)), largest_loss_difference: worst };
}

try {
  const fp32 = run('fp32', steps, '--precision', 'fp32', '--cache', 'off');
  run('fill', steps, '--precision', 'bf16', '--cache', cache);
  const bf16 = run('bf16', steps * Number(values.repeat), '--precision', 'bf16', '--cache', cache);
  const ratio = ({ images_per_second: ours }) => ours / peer.images_per_second;
  console.log(
    JSON.stringify({
      peer: peer.images_per_second,
      fp32_without_cache: fp32,
      bf16_warm_cache: bf16,
      ratios: { fp32_without_cache: ratio(fp32), bf16_warm_cache: ratio(bf16) },
    }),
  );
} finally {
  rmSync(work, { recursive: true, force: true });
}
