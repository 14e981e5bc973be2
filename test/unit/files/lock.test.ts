import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { expect } from 'chai';

import { FolderLock, type Owner } from '../../../lib/files/lock.js';

const rhythm = { beat: 20, silence: 400 };
const token = '0123456789abcdef';

describe('a lock of a folder', () => {
  let work: string;
  const held: FolderLock[] = [];
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-lock-'));
  });
  afterEach(async () => {
    for (const lock of held.splice(0)) await lock.release();
    rmSync(work, { recursive: true, force: true });
  });

  async function take(): Promise<FolderLock | Owner> {
    const taken = await FolderLock.tryTake(work, rhythm);
    if (taken instanceof FolderLock) held.push(taken);
    return taken;
  }

  /** A lock as another process has written it. */
  async function plant(change: { [Key in keyof Owner]?: Owner[Key] | undefined }, name = `lock-${token}`): Promise<string> {
    const lock = (await take()) as FolderLock;
    const [mine] = readdirSync(work);
    const owner = { ...(JSON.parse(readFileSync(join(work, mine!), 'utf8')) as Owner), ...change };
    await lock.release();
    writeFileSync(join(work, name), JSON.stringify(owner));
    return join(work, name);
  }

  it('is given to one, and to the next when it is released', async () => {
    const first = await take();
    expect(first).to.be.instanceOf(FolderLock);
    expect(await take()).to.include({ pid: process.pid, host: hostname() });
    await (first as FolderLock).release();
    expect(readdirSync(work)).to.deep.equal([]);
    expect(await take()).to.be.instanceOf(FolderLock);
  });

  it('of a process that ended is removed, also when another process has its number', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    for (const change of [{ pid }, { began: 1 }]) {
      await plant(change);
      const lock = await take();
      expect(lock, JSON.stringify(change)).to.be.instanceOf(FolderLock);
      expect(readdirSync(work)).to.have.length(1);
      expect(existsSync(join(work, `lock-${token}`))).to.equal(false);
      await (lock as FolderLock).release();
    }
  });

  it('of another process table is left alone while it beats, though its host has our name and its pid is nobody here', async () => {
    const file = await plant({ pid: 99_999_999, space: 'another' });
    const beating = setInterval(() => utimesSync(file, new Date(), new Date()), rhythm.beat);
    try {
      expect(await take()).to.include({ pid: 99_999_999 });
    } finally {
      clearInterval(beating);
    }
  });

  it('of another process table is removed when it is silent, however new it is', async () => {
    await plant({ space: 'another' });
    expect(await take()).to.be.instanceOf(FolderLock);
  });

  it('beats', async () => {
    await take();
    const file = join(work, readdirSync(work)[0]!);
    utimesSync(file, new Date(0), new Date(0));
    // Until the test's own time limit.
    while (statSync(file).mtimeMs === 0) await sleep(10);
  });

  it('that version 0.1 wrote is understood', async () => {
    const file = await plant({ space: undefined }, 'lock');
    expect(await take()).to.include({ pid: process.pid });
    rmSync(file);
    await plant({ host: 'elsewhere', space: undefined }, 'lock');
    expect(await take()).to.include({ host: 'elsewhere' });
    rmSync(file);
    await plant({ pid: 99_999_999, space: undefined }, 'lock');
    expect(await take()).to.be.instanceOf(FolderLock);
  });

  it('cut short, or of nobody, is no lock', async () => {
    for (const text of ['', '{"pid":', 'null', '{}', '[]']) {
      writeFileSync(join(work, `lock-${token}`), text);
      const lock = await take();
      expect(lock, text).to.be.instanceOf(FolderLock);
      await (lock as FolderLock).release();
    }
  });

  it('tells its owner when another has taken it for dead', async () => {
    const lock = (await take()) as FolderLock;
    await lock.check();
    rmSync(join(work, readdirSync(work)[0]!));
    const error = await lock.check().catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'lock_lost');
  });

  it('says why none can be written', async () => {
    const { mkdtemp } = fs;
    for (const [code, expected] of [
      ['ENOSPC', 'disk_full'],
      ['EROFS', 'unwritable_file'],
    ]) {
      fs.mkdtemp = (() => Promise.reject(Object.assign(new Error(code), { code }))) as unknown as typeof mkdtemp;
      syncBuiltinESMExports();
      try {
        expect(await take().catch((thrown: unknown) => thrown)).to.have.property('code', expected);
      } finally {
        fs.mkdtemp = mkdtemp;
        syncBuiltinESMExports();
      }
    }
  });

  it('says so in a folder that takes no file', async function () {
    if (!existsSync('/sys/kernel')) {
      console.log('      skipped: there is no /sys');
      return this.skip();
    }
    const error = await FolderLock.tryTake('/sys/kernel', rhythm).catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'unwritable_file');
  });
});
