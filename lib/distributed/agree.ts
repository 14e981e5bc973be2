import { isDeepStrictEqual } from 'node:util';

import { KueaError } from '../errors.js';
import { gather, type Ranks } from './ranks.js';

/**
 * Compares what every rank must have alike (JSON values) before anything is computed. All ranks call it; on a difference it rejects on all
 * of them with KueaError `ranks_differ`, which names the rank and the values.
 */
export async function agree(ranks: Ranks, values: Record<string, unknown>): Promise<void> {
  const [first, ...others] = (await gather(ranks, 'agree', values)) as [Record<string, unknown>, ...Record<string, unknown>[]];
  others.forEach((other, i) => {
    const differing = [...new Set([...Object.keys(first), ...Object.keys(other)])]
      .filter((key) => !isDeepStrictEqual(first[key], other[key]))
      .map((key) => `${key} (${JSON.stringify(first[key])} on rank 0, ${JSON.stringify(other[key])} on rank ${i + 1})`);
    if (differing.length > 0)
      throw new KueaError(
        'ranks_differ',
        `expected all ranks to have the same options, versions and weights, found others on rank ${i + 1}: ${differing.join(', ')}`,
      );
  });
}
