import { KueaError, named } from '../../errors.js';

const readers: Record<string, { size: number; read: (view: DataView, at: number) => number }> = {
  '|b1': { size: 1, read: (view, at) => view.getUint8(at) },
  '|u1': { size: 1, read: (view, at) => view.getUint8(at) },
  '|i1': { size: 1, read: (view, at) => view.getInt8(at) },
  '<i2': { size: 2, read: (view, at) => view.getInt16(at, true) },
  '<i4': { size: 4, read: (view, at) => view.getInt32(at, true) },
  '<i8': { size: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  '<f4': { size: 4, read: (view, at) => view.getFloat32(at, true) },
  '<f8': { size: 8, read: (view, at) => view.getFloat64(at, true) },
};

/** A NumPy file that holds one row of zeros and ones, as uint8. Throws KueaError `bad_labels`, naming `place`, for anything else. */
export function readMarks(bytes: Buffer, place: string): Uint8Array {
  const bad = (found: string) => new KueaError('bad_labels', `expected one row of zeros and ones as .npy for ${place}, found ${found}`);
  if (bytes.length < 12 || bytes.toString('latin1', 0, 6) !== '\x93NUMPY') throw bad('other bytes');
  const wide = bytes[6]! > 1;
  const body = wide ? 12 + bytes.readUInt32LE(8) : 10 + bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', wide ? 12 : 10, Math.min(body, bytes.length));
  const type = header.match(/'descr':\s*'([^']*)'/)?.[1] ?? '';
  const length = Number(header.match(/'shape':\s*\((\d{1,9}),\)/)?.[1] ?? -1);
  const reader = Object.hasOwn(readers, type) ? readers[type] : undefined;
  if (!reader || length < 0 || body + length * reader.size !== bytes.length)
    throw bad(`"${named(header.trim())}" in ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset + body);
  return Uint8Array.from({ length }, (_, i) => {
    const value = reader.read(view, i * reader.size);
    if (value !== 0 && value !== 1) throw bad(`${value}`);
    return value;
  });
}
