import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { tryLock, waitForLock } from '../../../lib/files/hub/lock.js';

describe('a lock of the hub', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-lock-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  it('has one owner at a time, also in one process', async () => {
    const path = join(work, 'folder', 'lock');
    const first = await tryLock(path);
    expect(await tryLock(path)).to.equal(null);
    let granted = false;
    const second = waitForLock(path).then((lock) => {
      granted = true;
      return lock;
    });
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(granted).to.equal(false);
    await first!.release();
    await (await second).release();
  });

  it('is waited for until the signal', async () => {
    const path = join(work, 'other');
    const lock = await tryLock(path);
    const stop = new AbortController();
    const waiting = waitForLock(path, stop.signal).catch((error: unknown) => error);
    const reason = new Error('enough');
    stop.abort(reason);
    expect(await waiting).to.equal(reason);
    await lock!.release();
  });
});
