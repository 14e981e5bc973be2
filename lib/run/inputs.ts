import { readFile } from 'node:fs/promises';

import { KueaError } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';
import type { RunFolder } from './run-folder.js';

/**
 * Compares what a resumed run reads with what it began with, by fingerprints that a new run keeps in `inputs.json`, and by the samples of
 * an update. Throws KueaError `resume_mismatch`: with others a run would go on, and be neither the one nor the other.
 */
export async function claimInputs(folder: RunFolder, fingerprints: Record<string, string>): Promise<void> {
  const file = folder.file('inputs.json');
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text === null) return writeFileAtomically(file, `${JSON.stringify(fingerprints, null, 2)}\n`);
  const before = JSON.parse(text) as Record<string, string>;
  const { effectiveBatch } = fingerprints;
  if (before['effectiveBatch'] !== effectiveBatch) {
    throw new KueaError(
      'resume_mismatch',
      `expected ${before['effectiveBatch']} samples an update, as the run in ${folder.path} was started with, found ${effectiveBatch} ` +
        `(--batch-size, or --micro-batch x --grad-accum x ranks): ask for as many`,
    );
  }
  const differing = Object.keys(fingerprints).filter((name) => before[name] !== fingerprints[name]);
  if (differing.length > 0)
    throw new KueaError(
      'resume_mismatch',
      `expected the ${differing.join(' and ')} that the run in ${folder.path} was started with, found another: bring it back, or start ` +
        `a new run`,
    );
}
