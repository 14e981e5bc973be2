import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import locks from 'fs-native-extensions';

/** A held lock. */
export interface Lock {
  release(): Promise<void>;
}

/**
 * Takes the lock on `path`, a file that is made when there is none, or gives null when somebody else has it: another process, or another
 * caller in this one. The operating system holds the lock for the open file and lets go when the process ends, however it ends, so that no
 * lock is ever stale. The file stays: to remove it would let two in. Throws the file system's error, also where it knows no locks.
 */
export async function tryLock(path: string): Promise<Lock | null> {
  await mkdir(dirname(path), { recursive: true });
  const handle = await open(path, 'a+');
  let granted = false;
  try {
    granted = locks.tryLock(handle.fd);
  } finally {
    if (!granted) await handle.close();
  }
  return granted ? { release: () => handle.close() } : null;
}

/** Takes the lock on `path` as soon as nobody else has it. Throws the signal's reason, and what tryLock throws. */
export async function waitForLock(path: string, signal?: AbortSignal): Promise<Lock> {
  for (;;) {
    signal?.throwIfAborted();
    const lock = await tryLock(path);
    if (lock) return lock;
    await sleep(100);
  }
}
