import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect } from 'chai';

import { packageRoot } from '../../lib/package.js';

interface Report {
  cases: number;
  readers: Record<string, { cases: number; read: number; codes: Record<string, number> }>;
  failures: { reader: string; case: number; what: string }[];
}

/** What a sitting of scripts/fuzz/fuzz.mjs found; it ends with 1 when there are failures. */
async function fuzz(...args: string[]): Promise<Report> {
  const options = { maxBuffer: 1 << 26 };
  const { stdout } = await promisify(execFile)(process.execPath, [join(packageRoot(), 'scripts/fuzz/fuzz.mjs'), ...args], options).catch(
    (error: { stdout: string }) => error,
  );
  return JSON.parse(stdout) as Report;
}

describe('hostile files', function () {
  this.timeout(600_000);

  it('are errors with a code to every reader, and neither crash, hang nor fill the memory', async () => {
    const { readers, failures, cases } = await fuzz(
      '--cases',
      '2000',
      '--seed',
      '1',
      '--jobs',
      String(Math.min(4, availableParallelism())),
    );
    expect(failures).to.deep.equal([]);
    expect(cases).to.be.greaterThan(30_000);
    // Each reads some of the files and refuses others: the changes are neither too small nor too large to say anything.
    for (const [name, { read, codes }] of Object.entries(readers)) {
      if (name !== 'adapter config') expect(read, name).to.be.greaterThan(0);
      if (name !== 'metrics') expect(Object.keys(codes), name).to.not.be.empty;
    }
  });
});
