import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { KueaError } from '../../errors.js';
import { syncFolder } from '../atomic.js';
import type { HubClient, HubFile } from './client.js';

/** How far the download of a file is, in bytes; what an earlier process fetched counts. */
export interface HubProgress {
  file: string;
  received: number;
  total: number;
}

interface Transfer {
  client: HubClient;
  commit: string;
  file: HubFile;
  signal: AbortSignal | undefined;
  onProgress: ((progress: HubProgress) => void) | undefined;
}

/** Connections in a row that bring nothing new before the download fails. */
const attempts = 5;
/** Bytes between two reports of progress. */
const stride = 2 ** 20;

/**
 * Downloads a file of a commit to `path`, whole and compared with its hash, or not at all. A connection that is cut goes on from where it
 * was, and so does a later process: what has come is kept beside `path`. Throws KueaError `hub_corrupt`, `disk_full`, and what the client
 * throws.
 */
export async function download(path: string, transfer: Transfer): Promise<void> {
  const { client, file, signal } = transfer;
  // Not huggingface_hub's name, which it appends to under locks that we do not see.
  const partial = `${path}.kuea-incomplete`;
  await mkdir(dirname(path), { recursive: true });
  let inherited = (await sizeOf(partial)) > 0;
  for (;;) {
    await fill(partial, transfer);
    signal?.throwIfAborted();
    const found = await oidOf(partial, file, signal);
    if (found === file.oid) break;
    await rm(partial, { force: true });
    // What an earlier process left may be worse than what the hub sends.
    if (!inherited) throw client.corrupt(file.path, `expected the hash ${file.oid}, found ${found}`);
    inherited = false;
  }
  await rename(partial, path);
  await syncFolder(dirname(path));
}

/** Fetches until all bytes are there. Bytes go where they belong, so that two that fill one file write the same. */
async function fill(partial: string, transfer: Transfer): Promise<void> {
  const { client, file, signal } = transfer;
  if ((await sizeOf(partial)) > file.size) await rm(partial);
  const handle = await open(partial, constants.O_RDWR | constants.O_CREAT);
  try {
    let { size } = await handle.stat();
    for (let vain = 0; size < file.size; ) {
      const before = size;
      let failure: KueaError;
      try {
        size = Math.max(size, await receive(handle, before, transfer));
        failure = client.corrupt(file.path, `expected ${file.size} bytes, found ${size}`);
      } catch (error) {
        if (!(error instanceof KueaError) || error.code !== 'hub_unreachable') throw error;
        failure = error;
        size = (await handle.stat()).size;
      }
      vain = size > before ? 0 : vain + 1;
      if (vain === attempts) throw failure;
      if (vain > 0) await sleep(125 * 2 ** vain, undefined, { signal });
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** One connection: writes what comes and gives the end of it. */
function receive(handle: Awaited<ReturnType<typeof open>>, from: number, transfer: Transfer): Promise<number> {
  const { client, commit, file, onProgress } = transfer;
  return client.read(commit, file.path, from, async ({ status, headers }, bytes) => {
    if (status === 206 && !headers.get('Content-Range')?.startsWith(`bytes ${from}-`))
      throw client.corrupt(file.path, `expected bytes from ${from} on, found ${headers.get('Content-Range')}`);
    let end = status === 206 ? from : 0;
    let told = end;
    for await (const chunk of bytes) {
      if (end + chunk.length > file.size) throw client.corrupt(file.path, `expected ${file.size} bytes, found more`);
      for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at, chunk.length - at, end + at)).bytesWritten;
      end += chunk.length;
      if (end - told >= stride || end === file.size) {
        told = end;
        onProgress?.({ file: file.path, received: end, total: file.size });
      }
    }
    return end;
  });
}

async function oidOf(path: string, { oid, size }: HubFile, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash(oid.length === 64 ? 'sha256' : 'sha1');
  if (oid.length === 40) hash.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: stride, signal })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => null))?.size ?? 0;
