import { KueaError, named, reason } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';
import { readOwn } from '../regular-file.js';
import type { RunFolder } from './run-folder.js';

/**
 * Compares what a resumed run reads with what it began with, by fingerprints that a new run keeps in `inputs.json`, and by the samples of
 * an update. What an older version did not keep is kept from now on. Throws KueaError `resume_mismatch`: with others a run would go on, and
 * be neither the one nor the other; and `bad_inputs` for a damaged file.
 */
export async function claimInputs(folder: Pick<RunFolder, 'file' | 'path'>, fingerprints: Record<string, string>): Promise<void> {
  const file = folder.file('inputs.json');
  const before = await readFingerprints(file);
  const { effectiveBatch } = fingerprints;
  const known = Object.keys(fingerprints).filter((name) => Object.hasOwn(before, name));
  if (known.includes('effectiveBatch') && before['effectiveBatch'] !== effectiveBatch) {
    throw new KueaError(
      'resume_mismatch',
      `expected ${named(before['effectiveBatch'])} samples an update, as the run in ${folder.path} was started with, found ` +
        `${effectiveBatch} ` +
        `(--batch-size, or --micro-batch x --grad-accum x ranks): ask for as many`,
    );
  }
  const differing = known.filter((name) => before[name] !== fingerprints[name]);
  if (differing.length > 0)
    throw new KueaError(
      'resume_mismatch',
      `expected the ${differing.join(' and ')} that the run in ${folder.path} was started with, found another: bring it back, or start ` +
        `a new run`,
    );
  if (known.length < Object.keys(fingerprints).length)
    await writeFileAtomically(file, `${JSON.stringify({ ...before, ...fingerprints }, null, 2)}\n`);
}

async function readFingerprints(file: string): Promise<Record<string, unknown>> {
  const text = (await readOwn(file)) ?? '{}';
  try {
    const parsed: unknown = JSON.parse(text);
    // What is nested too deep to be written again is no fingerprint.
    JSON.stringify(parsed);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return { ...parsed };
    throw new Error('it is no object');
  } catch (cause) {
    throw new KueaError(
      'bad_inputs',
      `expected the fingerprints of a run's inputs in ${file}, found something else (${reason(cause)}): remove it to resume ` +
        `without the comparison`,
      { cause },
    );
  }
}
