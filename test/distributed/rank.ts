import { placementOf } from '../../lib/distributed/environment.js';
import { withRanks } from '../../lib/distributed/join.js';
import { type AlignEvent, type AlignOptions, align } from '../../lib/index.js';

/**
 * One rank of a run, placed by torchrun's variables: `node rank.js OPTIONS` prints a JSON line an event. Not a test: support.ts starts it.
 */
const options = JSON.parse(process.argv[2]!) as AlignOptions;

await withRanks(placementOf(process.env)!, { device: 'cpu', joinTimeout: 60, watchdog: 15 }, async (ranks) => {
  const run = align(options, { ranks });
  for await (const event of run) console.log(JSON.stringify(event satisfies AlignEvent));
});
