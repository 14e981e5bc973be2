import { open } from 'node:fs/promises';

import { KueaError } from '../errors.js';
import type { StoredDtype } from '../native/addon.js';
import type { Tensors } from './tensors.js';

/** dtypes of the format and their bytes an element. */
export const itemSizes: Record<string, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
};

export interface SafetensorsHeader {
  tensors: Tensors;
  metadata: Record<string, string>;
}

const largestHeader = 100_000_000;

function bad(file: string, why: string): KueaError {
  return new KueaError('bad_safetensors', `${file} is not a sound safetensors file: ${why}; fetch or export it again`);
}

/** JSON.parse keeps the last of two equal keys; the format forbids the second, which could hide a tensor. */
function hasDuplicateKeys(json: string): boolean {
  const names = new Set<string>();
  let depth = 0;
  for (const { 0: token } of json.matchAll(/"(?:[^"\\]|\\.)*"\s*:?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1 && token.endsWith(':')) {
      const name = JSON.parse(token.slice(0, -1).trim()) as string;
      if (names.has(name)) return true;
      names.add(name);
    }
  }
  return false;
}

/**
 * Reads and checks a header: its length, JSON, dtypes and shapes, that the tensors lie one after the other without holes or overlaps, and
 * that they end where the file does. No tensor is read. Throws KueaError `bad_safetensors`, or `file_not_found`.
 */
export async function readSafetensors(file: string): Promise<SafetensorsHeader> {
  const handle = await open(file).catch((cause: unknown) => {
    throw new KueaError('file_not_found', `cannot open ${file}: ${(cause as Error).message}`, { cause });
  });
  let json: string;
  let start: number;
  let size: number;
  try {
    size = (await handle.stat()).size;
    const prefix = Buffer.alloc(8);
    if (size < 8) throw bad(file, `expected at least 8 bytes, found ${size}`);
    await handle.read(prefix, 0, 8, 0);
    const length = prefix.readBigUInt64LE();
    if (length > BigInt(largestHeader))
      throw bad(file, `its header claims ${length} bytes, more than the ${largestHeader} that are allowed`);
    start = 8 + Number(length);
    if (start > size) throw bad(file, `its header claims ${length} bytes, but the file has ${size} in all`);
    const header = Buffer.alloc(Number(length));
    await handle.read(header, 0, header.length, 8);
    json = header.toString('utf8');
  } finally {
    await handle.close();
  }
  return parseHeader(file, json, start, size);
}

function parseHeader(file: string, json: string, start: number, size: number): SafetensorsHeader {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (error) {
    throw bad(file, `its header is not JSON (${(error as Error).message})`);
  }
  if (!json.startsWith('{') || typeof parsed !== 'object' || parsed === null) throw bad(file, 'its header is not a JSON object');
  if (hasDuplicateKeys(json)) throw bad(file, 'its header names a tensor twice');

  const { __metadata__: metadata = {}, ...entries } = parsed as Record<string, unknown>;
  if (typeof metadata !== 'object' || metadata === null || Object.values(metadata).some((v) => typeof v !== 'string'))
    throw bad(file, '__metadata__ may hold strings alone');
  const isCount = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;
  const ranges: { name: string; begin: number; end: number }[] = [];
  const tensors = new Map() as Tensors;
  for (const [name, entry] of Object.entries(entries)) {
    const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
    const item = typeof dtype === 'string' ? itemSizes[dtype] : undefined;
    if (item === undefined) throw bad(file, `tensor ${name} has the unknown dtype ${String(dtype)}`);
    if (!Array.isArray(shape) || !shape.every(isCount)) throw bad(file, `tensor ${name} has no valid shape`);
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
      throw bad(file, `tensor ${name} has no valid data_offsets`);
    const [begin, end] = offsets as [number, number];
    const bytes = shape.reduce((product: number, side: number) => product * side, item);
    if (end - begin !== bytes)
      throw bad(file, `tensor ${name} is ${String(dtype)} [${shape.join(', ')}], ${bytes} bytes, but its data_offsets span ${end - begin}`);
    ranges.push({ name, begin, end });
    tensors.set(name, { file, offset: start + begin, dtype: dtype as string, shape });
  }
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let reached = 0;
  for (const { name, begin, end } of ranges) {
    if (begin !== reached)
      throw bad(
        file,
        `tensor ${name} starts at byte ${begin} of the data where ${reached} was expected: it ` +
          `${begin < reached ? 'overlaps another' : 'leaves a hole'}`,
      );
    reached = end;
  }
  if (start + reached !== size)
    throw bad(
      file,
      `its tensors end at byte ${start + reached}, the file at ${size}: it ` +
        `${start + reached > size ? 'is truncated' : 'has bytes that belong to nothing'}`,
    );
  return { tensors, metadata: metadata as Record<string, string> };
}

/**
 * The 8-byte length and the JSON of a header for tensors written one after the other in this order; padded so that the data is 8-aligned.
 */
export function buildHeader(
  entries: readonly { name: string; dtype: StoredDtype | 'U8' | 'U32'; shape: readonly number[] }[],
  metadata: Record<string, string> = {},
): Buffer {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header['__metadata__'] = metadata;
  let begin = 0;
  for (const { name, dtype, shape } of entries) {
    const end = begin + shape.reduce((product, side) => product * side, itemSizes[dtype]!);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
    begin = end;
  }
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  const padded = Math.ceil((8 + json.length) / 8) * 8;
  const buffer = Buffer.alloc(padded, ' ');
  buffer.writeBigUInt64LE(BigInt(padded - 8), 0);
  json.copy(buffer, 8);
  return buffer;
}
