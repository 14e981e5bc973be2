import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { placementOf } from '../../lib/distributed/environment.js';
import { withRanks } from '../../lib/distributed/join.js';
import { openWeights } from '../../lib/models/open.js';
import { packageRoot } from '../../lib/package.js';
import { restoreTrainerState, writeTrainerState } from '../../lib/run/trainer-state.js';
import { openAlignTrainer } from '../native/align-support.js';

/**
 * One rank that drives a trainer by hand: `node trainer-rank.js FOLDER COUNTS [CHECKPOINT]`. COUNTS is a JSON list, a step each, of the
 * images of each rank. Prints {sha256 of the state after the last step, losses, norms of the gradients, stopped: the step after which it
 * knew that rank 1 wanted to stop}.
 */
const [folder, counts, checkpoint] = [process.argv[2]!, JSON.parse(process.argv[3]!) as number[][], process.argv[4]];

await withRanks(placementOf(process.env)!, { device: 'cpu', joinTimeout: 60, watchdog: 15 }, async ({ rank, group }) => {
  const student = await openWeights(join(packageRoot(), 'configs/demo/clip'), { role: 'student' });
  const trainer = await openAlignTrainer({ precision: 'bf16', distributed: true });
  if (checkpoint) await (rank === 0 ? restoreTrainerState(trainer, checkpoint, 1) : trainer.restore([], 1));
  const losses: number[] = [];
  const norms: number[] = [];
  let stopped: number | null = null;
  for (const [step, count] of counts.map((all) => all[rank]!).entries()) {
    // Pixels that differ from rank to rank and from step to step.
    const slot = trainer.slots[0]!;
    for (let i = 0; i < slot.length; i++) slot[i] = (i * (7 + rank) + ((i * i) >> 7) * (step + 1)) & 255;
    if (rank === 1 && step === 1) group!.requestStop();
    const metrics = await trainer.step({ slot: 0, count, rows: new Uint32Array(count), lr: 1e-3, log: true });
    losses.push(metrics!.loss);
    norms.push(metrics!.gradNorm);
    if (group!.stopRequested()) stopped ??= step;
  }
  await writeTrainerState(trainer, folder, student);
  const hash = createHash('sha256');
  for (const file of ['student.safetensors', 'optimizer.safetensors']) hash.update(readFileSync(join(folder, file)));
  console.log(JSON.stringify({ sha256: hash.digest('hex'), losses, norms, stopped }));
  await trainer.close();
});
