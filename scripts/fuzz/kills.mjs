/**
 * node scripts/fuzz/kills.mjs [--kills 40] [--seed 1]
 *
 * Kills runs with SIGKILL at moments drawn by the seed: any time of the run, or just before a lock, the cache, a checkpoint or an export
 * gets its name; every fourth is a LoRA run, and some are killed twice. Each is then resumed to its end and compared with a run that was
 * left alone: every file the same bytes, but for times, and no file more or less. Prints one JSON line; exit code 1 when a run differs.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KillRuns } from '../../dist/test/process/kill-runs.js';
import { endAll } from '../../dist/test/process/support.js';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '40' }, seed: { type: 'string', default: '1' } } });

let state = Number(values.seed);
/** In [0, 1). */
function draw() {
  state = (state * 48271) % 2147483647;
  return state / 2147483647;
}

const namings = {
  align: ['/lock', 'cache/lock', 'cache/embeddings', 'checkpoints/step', 'latest$', '/hf$', 'export/hf$'],
  lora: ['/lock', 'checkpoints/step', 'partial-\\w+/export$', '/export$'],
};

function momentOf(program, whole) {
  const list = namings[program];
  return draw() < 0.5 ? { after: Math.round(draw() * whole) } : { naming: list[Math.floor(draw() * list.length)] };
}

async function main() {
  const work = mkdtempSync(join(tmpdir(), 'kuea-kills-'));
  try {
    const runs = new KillRuns(work);
    await runs.prepare();
    const whole = { align: await runs.runWhole('align'), lora: await runs.runWhole('lora') };
    const wrong = [];
    let kills = 0;
    for (let i = 0; kills < Number(values.kills); i++) {
      const program = i % 4 === 3 ? 'lora' : 'align';
      const moments = Array.from({ length: draw() < 0.25 ? 2 : 1 }, () => momentOf(program, whole[program]));
      const { killed, ...found } = await runs.runKilled(program, moments);
      if (killed) kills++;
      if (Object.values(found).some((list) => list.length > 0)) {
        const places = moments.map(({ after, appears }) => ({
          after,
          ...(appears ? { appears: `${appears.folder} ${appears.name}` } : {}),
        }));
        wrong.push({ program, moments: places, ...found });
      }
    }
    console.log(JSON.stringify({ seed: Number(values.seed), kills, wrong }));
    if (wrong.length > 0) process.exitCode = 1;
  } finally {
    endAll();
    rmSync(work, { recursive: true, force: true });
  }
}

await main();
