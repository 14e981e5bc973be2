import { KueaError } from '../errors.js';
import type { StoredDtype, TensorBytes } from '../native/addon.js';
import { openRegular, readAt } from '../regular-file.js';

/** A half-precision number: five bits of exponent, ten of mantissa. */
function half(bits: number): number {
  const [exponent, mantissa] = [(bits >> 10) & 31, bits & 1023];
  const size =
    exponent === 31 ? (mantissa ? Number.NaN : Number.POSITIVE_INFINITY) : (mantissa + (exponent ? 1024 : 0)) * 2 ** ((exponent || 1) - 25);
  return bits & 0x8000 ? -size : size;
}

const readers: Record<StoredDtype, { bytes: number; read: (bytes: Buffer) => number }> = {
  F64: { bytes: 8, read: (bytes) => bytes.readDoubleLE() },
  F32: { bytes: 4, read: (bytes) => bytes.readFloatLE() },
  F16: { bytes: 2, read: (bytes) => half(bytes.readUInt16LE()) },
  BF16: { bytes: 2, read: (bytes) => Buffer.from([0, 0, bytes[0]!, bytes[1]!]).readFloatLE() },
};

/** The number of a tensor of one element; null when there is none, or it has another number of elements. Throws KueaError `bad_tensor`. */
export async function readScalar(tensor: TensorBytes | undefined): Promise<number | null> {
  if (!tensor || tensor.shape.some((side) => side !== 1)) return null;
  const { bytes, read } = readers[tensor.dtype];
  const { handle } = await openRegular(tensor.file);
  try {
    const found = await readAt(handle, tensor.offset, bytes);
    if (found.length === bytes) return read(found);
    throw new KueaError(
      'bad_tensor',
      `expected a number of ${bytes} bytes at ${tensor.offset} of ${tensor.file}, found ${found.length}: fetch it again`,
    );
  } finally {
    await handle.close();
  }
}
