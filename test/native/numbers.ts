import { expect } from 'chai';

/** fp32 numbers out of a manifest. */
export function floats(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** Largest difference, relative to the largest number. */
export function difference(found: Float32Array, expected: Float32Array): number {
  expect(found).to.have.length(expected.length);
  const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  return expected.reduce((most, v, i) => Math.max(most, Math.abs(v - found[i]!)), 0) / largest;
}
