import { placementOf } from '../../lib/distributed/environment.js';
import { withRanks } from '../../lib/distributed/join.js';
import { loadAddon } from '../../lib/native/load.js';
import { callOf, find, floats } from '../numerics/support.js';

/** What the ranks compute together: a golden, whose rows are dealt by `counts`; `zero` makes 0 of its first row. */
export interface LossTask {
  name: string;
  counts: number[];
  zero?: boolean;
}

/** One rank's summands and its rows of dX (base64), or the code of the error. */
export type LossPart = { loss: number; dgamma: number; dc: number; dsigma: number; dx: string } | { code: string };

const tasks = JSON.parse(process.argv[2]!) as LossTask[];
const placement = placementOf(process.env)!;

await withRanks(placement, { device: 'cpu', joinTimeout: 60, watchdog: 15 }, async () => {
  const parts: LossPart[] = [];
  for (const { name, counts, zero } of tasks) {
    const c = find(name);
    const x = floats(c.x);
    if (zero) x.fill(0, 0, c.d);
    const call = { ...callOf(c, 'fused', zero ? { c: 0 } : {}, x), counts: Int32Array.from(counts), rank: placement.rank };
    const part = loadAddon()
      .kernelLoss(call)
      .then(({ loss, dgamma, dc, dsigma, dx }) => ({ loss, dgamma, dc, dsigma, dx: Buffer.from(dx!.buffer).toString('base64') }));
    parts.push(await part.catch(({ code }: { code: string }) => ({ code })));
  }
  console.log(JSON.stringify(parts));
});
