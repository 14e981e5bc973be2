import { buildHeader } from '../../../../lib/files/safetensors.js';

/** Bytes of a safetensors file; I64 numbers are given as plain ones. */
export function safetensors(tensors: Record<string, { dtype: 'I64' | 'F32' | 'I32'; shape: number[]; values: number[] }>): Buffer {
  const bytes = Object.values(tensors).map(({ dtype, values }) =>
    Buffer.from(
      dtype === 'I64'
        ? BigInt64Array.from(values, BigInt).buffer
        : dtype === 'F32'
          ? Float32Array.from(values).buffer
          : Int32Array.from(values).buffer,
    ),
  );
  const header = buildHeader(Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype: dtype as never, shape })));
  return Buffer.concat([header, ...bytes]);
}
