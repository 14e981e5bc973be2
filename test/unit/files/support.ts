import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { KueaError } from '../../../lib/errors.js';

/** The KueaError that a promise rejects with; its message has one line. */
export async function failure(promise: Promise<unknown>): Promise<KueaError> {
  const error = await promise.then(
    () => new Error('expected a failure, found none'),
    (e: unknown) => e,
  );
  if (!(error instanceof KueaError)) throw error;
  expect(error.message, 'one line').to.not.include('\n');
  return error;
}

/** A folder for the suite that calls this, and what writes a file into it; text is taken for latin1. */
export function useFolder(): { path(name: string): string; file(name: string, ...parts: (string | Uint8Array)[]): string } {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-files-'))));
  after(() => rmSync(work, { recursive: true, force: true }));
  const path = (name: string) => join(work, name);
  return {
    path,
    file(name, ...parts) {
      writeFileSync(path(name), Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part))));
      return path(name);
    },
  };
}

export const u64 = (n: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(n));
  return bytes;
};
