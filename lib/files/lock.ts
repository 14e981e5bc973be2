import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { open, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { KueaError } from '../errors.js';
import { asWriteError, writeFileAtomically } from './atomic.js';

/** The process that holds a folder. */
export interface Owner {
  pid: number;
  host: string;
  started: string;
  /** When the process began, in the system's ticks since it booted; null where /proc does not tell. */
  began: number | null;
  /** Which booted system and which of its process tables the pid belongs to; null where /proc does not tell, absent in 0.1's locks. */
  space?: string | null;
}

/** How often a lock says that its owner lives, and how long it must be silent to be a dead one's; milliseconds. */
export interface Rhythm {
  beat: number;
  silence: number;
}

const rhythm: Rhythm = { beat: 5_000, silence: 20_000 };

/** `lock-TOKEN`; 0.1 wrote `lock`. */
export const isLock = (name: string) => /^lock(-[0-9a-f]{16})?$/.test(name);

/**
 * A folder that one process holds. Each starter writes a lock of a name of its own, whole, and looks around: it holds the folder when it
 * then sees no other living lock, else it takes its own back. So two never hold it (each would have had to look before the other wrote),
 * and as nobody ever writes under another's name, a dead one's lock can be removed at any time.
 */
export class FolderLock {
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly file: string,
    beat: number,
  ) {
    this.timer = setInterval(() => {
      const now = new Date();
      utimes(file, now, now).catch(() => {});
    }, beat).unref();
  }

  /**
   * Takes the folder, or tells who has it. An owner on this machine is looked up; for one elsewhere (another machine, container or boot)
   * its lock is watched, for `silence` when it is dead. Throws KueaError `disk_full`, `unwritable_file`.
   */
  static async tryTake(folder: string, { beat, silence }: Rhythm = rhythm): Promise<FolderLock | Owner> {
    const me: Owner = {
      pid: process.pid,
      host: hostname(),
      started: new Date().toISOString(),
      began: beginning(process.pid),
      space: processSpace(),
    };
    for (let attempt = 1; ; attempt++) {
      const holder = await otherOwner(folder, '', me, silence);
      if (holder) return holder;
      const name = `lock-${randomBytes(8).toString('hex')}`;
      try {
        await writeFileAtomically(join(folder, name), JSON.stringify(me));
      } catch (error) {
        // Whoever got the folder meanwhile clears what looks unfinished in it.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt > 9) throw error;
        continue;
      }
      const lock = new FolderLock(join(folder, name), beat);
      // What was dead before is gone; whoever is here now has just come.
      if (!(await otherOwner(folder, name, me, 0))) return lock;
      await lock.release();
      await sleep(5 + Math.random() * 45);
    }
  }

  /** As tryTake, but waits for another owner. */
  static async take(folder: string): Promise<FolderLock> {
    for (;;) {
      const taken = await FolderLock.tryTake(folder);
      if (taken instanceof FolderLock) return taken;
      await sleep(100);
    }
  }

  /** Throws KueaError `lock_lost` when another process has taken this one for dead, as it may when it was stopped for long. */
  async check(): Promise<void> {
    const found = await readFile(this.file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return null;
    });
    if (found === null)
      throw new KueaError(
        'lock_lost',
        `expected the lock ${this.file} of this process, found it removed: another process may work in the folder now, so this one ends`,
      );
  }

  async release(): Promise<void> {
    clearInterval(this.timer);
    await rm(this.file, { force: true });
  }
}

/** A living owner of a lock that is not called `mine`; what the dead have left is removed. */
async function otherOwner(folder: string, mine: string, me: Owner, silence: number): Promise<Owner | null> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw asWriteError(error, folder);
    return [];
  });
  for (const name of names.filter((other) => isLock(other) && other !== mine)) {
    const file = join(folder, name);
    const text = await readFile(file, 'utf8').catch(() => null);
    if (text === null) continue;
    const owner = parseOwner(text);
    if (owner && (await isAlive(owner, me, file, silence))) return owner;
    await rm(file, { force: true });
  }
  return null;
}

/** Null for what is no lock: a whole one is written at once. */
function parseOwner(text: string): Owner | null {
  try {
    const owner = JSON.parse(text) as Owner | null;
    return Number.isSafeInteger(owner?.pid) ? owner : null;
  } catch {
    return null;
  }
}

async function isAlive(owner: Owner, me: Owner, file: string, silence: number): Promise<boolean> {
  const { pid, began, host, space } = owner;
  const isHere = me.space === null || space === undefined ? host === me.host : space === me.space;
  // 0.1's locks do not beat.
  if (!isHere) return space === undefined || (await beats(file, silence));
  if (typeof began === 'number') return beginning(pid) === began;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether a lock is touched while it is watched: clocks of two machines are not compared. Without watching, it is taken to be. */
async function beats(file: string, silence: number): Promise<boolean> {
  // Opened each time: only then does a network file system ask its server.
  const touched = async () => {
    const handle = await open(file).catch(() => null);
    try {
      return handle ? (await handle.stat()).mtimeMs : null;
    } finally {
      await handle?.close();
    }
  };
  const first = await touched();
  const pause = silence / 20;
  for (let waited = 0; waited < silence; waited += pause) {
    await sleep(pause);
    const now = await touched();
    if (now !== first) return now !== null;
  }
  return silence === 0;
}

/** When a process began; null when it has ended, also where nobody has reaped it, or there is no /proc. */
function beginning(pid: number): number | null {
  try {
    // The name, in brackets, may hold anything: the state comes after it, and the beginning is the 20th word from there.
    const words = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return words[0] === 'Z' || words[0] === 'X' ? null : Number(words[19]);
  } catch {
    return null;
  }
}

/** Hosts of one name may be containers with a process table each. */
function processSpace(): string | null {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return null;
  }
}
