import type { FileHandle } from 'node:fs/promises';

import { KueaError, named } from '../errors.js';
import { readAt } from '../regular-file.js';

export interface ZipEntry {
  /** Whether its bytes lie in the file as they are; TorchScript compresses its code, never its tensors. */
  stored: boolean;
  /** Byte offset of its data in the file. */
  offset: number;
  size: number;
}

const endRecord = 0x06054b50;
const end64Locator = 0x07064b50;
const end64Record = 0x06064b50;
const centralEntry = 0x02014b50;
const localEntry = 0x04034b50;
/** Entries, and bytes of their directory, at most: a model of 100,000 tensors has fewer. */
const mostEntries = 1 << 17;
const largestDirectory = 1 << 26;

/**
 * The entries of a zip of `size` bytes by name. What is wanted are offsets into the file, to map tensors where they lie, which zip
 * libraries do not give. Throws KueaError `bad_archive`.
 */
export async function readZip(handle: FileHandle, size: number, file: string): Promise<Map<string, ZipEntry>> {
  const fail = (why: string): never => {
    throw new KueaError('bad_archive', `${file} is not a sound PyTorch file: ${why}; fetch it again`);
  };
  const read = async (offset: number, length: number): Promise<Buffer> => {
    if (offset < 0 || length < 0 || offset + length > size) fail('its archive points outside the file, which is truncated');
    const bytes = await readAt(handle, offset, length);
    return bytes.length === length ? bytes : fail('it shrank while it was read');
  };

  const tail = await read(Math.max(0, size - 65_557), Math.min(size, 65_557));
  let at = tail.length - 22;
  while (at >= 0 && tail.readUInt32LE(at) !== endRecord) at--;
  if (at < 0) fail('its archive has no end record, so it is truncated');
  let count = tail.readUInt16LE(at + 10);
  let length = tail.readUInt32LE(at + 12);
  let start = tail.readUInt32LE(at + 16);
  if (at >= 20 && tail.readUInt32LE(at - 20) === end64Locator) {
    const record = await read(Number(tail.readBigUInt64LE(at - 12)), 56);
    if (record.readUInt32LE(0) !== end64Record) fail('its zip64 end record is broken');
    count = Number(record.readBigUInt64LE(32));
    length = Number(record.readBigUInt64LE(40));
    start = Number(record.readBigUInt64LE(48));
  }

  if (count > mostEntries || length > largestDirectory)
    fail(`its directory claims ${count} entries in ${length} bytes, more than a model has`);
  const directory = await read(start, length);
  const entries = new Map<string, ZipEntry>();
  let position = 0;
  for (let i = 0; i < count; i++) {
    if (position + 46 > directory.length || directory.readUInt32LE(position) !== centralEntry) fail('its directory is broken');
    const method = directory.readUInt16LE(position + 10);
    const nameLength = directory.readUInt16LE(position + 28);
    const extraLength = directory.readUInt16LE(position + 30);
    const next = position + 46 + nameLength + extraLength + directory.readUInt16LE(position + 32);
    if (next > directory.length) fail('its directory is broken');
    const name = directory.toString('utf8', position + 46, position + 46 + nameLength);
    let entrySize = directory.readUInt32LE(position + 24);
    let header = directory.readUInt32LE(position + 42);
    // zip64 fields stand in this order, each only when its 32-bit twin is full.
    const extra = directory.subarray(position + 46 + nameLength, position + 46 + nameLength + extraLength);
    for (let e = 0; e + 4 <= extra.length; e += 4 + extra.readUInt16LE(e + 2)) {
      if (extra.readUInt16LE(e) !== 1) continue;
      let field = e + 4;
      const wide = () => {
        if (field + 8 > extra.length) fail('its zip64 fields are broken');
        field += 8;
        return Number(extra.readBigUInt64LE(field - 8));
      };
      if (entrySize === 0xffffffff) entrySize = wide();
      if (directory.readUInt32LE(position + 20) === 0xffffffff) wide();
      if (header === 0xffffffff) header = wide();
    }
    const local = await read(header, 30);
    if (local.readUInt32LE(0) !== localEntry) fail(`its entry ${named(name)} is broken`);
    const offset = header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
    const stored = method === 0;
    if (stored && offset + entrySize > size) fail(`its entry ${named(name)} reaches past the end of the file, which is truncated`);
    entries.set(name, { stored, offset, size: entrySize });
    position = next;
  }
  return entries;
}
