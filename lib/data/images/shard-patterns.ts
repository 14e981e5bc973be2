import { existsSync } from 'node:fs';
import { expand } from 'brace-expansion';
import { glob, hasMagic } from 'glob';

import { KueaError } from '../../errors.js';

/** Names in the order people number them: 2.tar before 10.tar. */
export const shardOrder = new Intl.Collator('en', { numeric: true }).compare;

export function isPattern(ref: string): boolean {
  return hasMagic(ref, { magicalBraces: true });
}

/**
 * The files that a pattern such as `shards/{000000..000146}.tar` or `shards/*.tar` names. Braces are a list: each of its names must be
 * there (KueaError `data_not_found`, with how many are missing). Stars match whatever is there.
 */
export async function expandShards(pattern: string): Promise<string[]> {
  const files: string[] = [];
  const missing: string[] = [];
  for (const name of expand(pattern)) {
    if (hasMagic(name)) files.push(...(await glob(name, { nodir: true })).sort(shardOrder));
    else (existsSync(name) ? files : missing).push(name);
  }
  if (missing.length > 0)
    throw new KueaError('data_not_found', `expected every shard of ${pattern}, found ${missing.length} missing, the first ${missing[0]}`);
  if (files.length === 0) throw new KueaError('data_not_found', `expected shards that match ${pattern}, found none`);
  return files;
}
