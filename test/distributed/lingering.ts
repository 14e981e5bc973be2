import { setTimeout as sleep } from 'node:timers/promises';

import { placementOf } from '../../lib/distributed/environment.js';
import { withRanks } from '../../lib/distributed/join.js';

/**
 * A rank 0 that is busy for longer than the watchdog's patience when the others have nothing left to do. Not a test: support.ts starts it.
 */
await withRanks(placementOf(process.env)!, { device: 'cpu', joinTimeout: 60, watchdog: 3 }, async ({ rank }) => {
  if (rank === 0) await sleep(6000);
});
