import { expect } from 'chai';

import { readTensors } from '../../../lib/files/read-tensors.js';
import { buildHeader, readSafetensors } from '../../../lib/files/safetensors.js';
import { failure, u64, useFolder } from './support.js';

describe('safetensors', () => {
  const { file } = useFolder();
  const raw = (name: string, header: unknown, data: Uint8Array) => {
    const json = typeof header === 'string' ? header : JSON.stringify(header);
    return file(name, u64(json.length), json, data);
  };
  const f32 = (shape: number[], begin: number, end: number, dtype = 'F32') => ({ dtype, shape, data_offsets: [begin, end] });

  const cases: [name: string, make: () => string, expected: RegExp][] = [
    ['an empty file', () => file('empty.safetensors'), /at least 8 bytes, found 0/],
    ['a header longer than the file', () => file('long.safetensors', u64(1000), '{}'), /claims 1000 bytes, but the file has 10/],
    ['a header of an absurd length', () => file('absurd.safetensors', u64(2n ** 60n), '{}'), /more than the 100000000 that are allowed/],
    ['a header that is not JSON', () => raw('json.safetensors', '{"a": ', Buffer.alloc(0)), /not JSON/],
    ['a header that is a list', () => raw('list.safetensors', '[]', Buffer.alloc(0)), /not a JSON object/],
    ['truncated data', () => raw('short.safetensors', { a: f32([4], 0, 16) }, Buffer.alloc(12)), /is truncated/],
    ['bytes that belong to nothing', () => raw('extra.safetensors', { a: f32([1], 0, 4) }, Buffer.alloc(12)), /belong to nothing/],
    [
      'overlapping tensors',
      () => raw('overlap.safetensors', { a: f32([2], 0, 8), b: f32([2], 4, 12) }, Buffer.alloc(12)),
      /b starts at byte 4 .* overlaps/,
    ],
    ['a hole', () => raw('hole.safetensors', { a: f32([1], 0, 4), b: f32([1], 8, 12) }, Buffer.alloc(12)), /b starts at byte 8 .* hole/],
    [
      'a shape that does not fit its bytes',
      () => raw('shape.safetensors', { a: f32([3], 0, 8) }, Buffer.alloc(8)),
      /12 bytes, but its data_offsets span 8/,
    ],
    ['a negative side', () => raw('negative.safetensors', { a: f32([-1], 0, 4) }, Buffer.alloc(4)), /no valid shape/],
    ['an unknown dtype', () => raw('dtype.safetensors', { a: f32([1], 0, 4, 'F33') }, Buffer.alloc(4)), /unknown dtype F33/],
    [
      'one name twice',
      () =>
        raw(
          'twice.safetensors',
          '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
          Buffer.alloc(4),
        ),
      /names a tensor twice/,
    ],
    [
      'a dtype that is no text',
      () => raw('odd.safetensors', { a: { ...f32([1], 0, 4), dtype: { toString: 1 } } }, Buffer.alloc(4)),
      /dtype \{"toString":1\}/,
    ],
    [
      'a dtype that every object has',
      () => raw('own.safetensors', { a: f32([1], 0, 4, 'constructor') }, Buffer.alloc(4)),
      /unknown dtype constructor/,
    ],
    [
      'more sides than libtorch takes',
      () => raw('sides.safetensors', { a: f32(new Array(65).fill(1), 0, 4) }, Buffer.alloc(4)),
      /no valid shape/,
    ],
    ['a header within a header', () => raw('deep.safetensors', `{"a":${'['.repeat(1e6)}`, Buffer.alloc(0)), /nested deeper/],
    [
      'more parts than memory',
      () => raw('parts.safetensors', `{"a":[${'{},'.repeat(4e6)}{}]}`, Buffer.alloc(0)),
      /more parts than any model/,
    ],
    [
      'one name twice, its colon far away',
      () =>
        raw(
          'far.safetensors',
          `{"a":${JSON.stringify(f32([1], 0, 4))},"a"${' '.repeat(100)}:${JSON.stringify(f32([1], 0, 4))}}`,
          Buffer.alloc(4),
        ),
      /names a tensor twice/,
    ],
    ['a line break in what is no JSON', () => raw('lines.safetensors', '{"a": 1,\n\n x}', Buffer.alloc(0)), /not JSON \(/],
    ['metadata that is no text', () => raw('metadata.safetensors', { __metadata__: { a: 1 } }, Buffer.alloc(0)), /strings alone/],
  ];
  for (const [name, make, expected] of cases) {
    it(`${name}: is refused`, async () => {
      const { code, message } = await failure(readSafetensors(make()));
      expect(code).to.equal('bad_safetensors');
      expect(message).to.match(expected);
    });
  }

  it('reads long metadata', async () => {
    const text = '\\"}{][:'.repeat(2e6);
    const { metadata } = await readSafetensors(raw('metadata-14m.safetensors', { __metadata__: { text } }, Buffer.alloc(0)));
    expect(metadata['text'] === text).to.equal(true);
  });

  it('reads what it writes, and a shard index that is sound', async () => {
    const header = buildHeader(
      [
        { name: 'a"b', dtype: 'F32', shape: [2, 1] },
        { name: 'c', dtype: 'U8', shape: [3] },
      ],
      { k: 'v' },
    );
    expect(header.length % 8).to.equal(0);
    const { tensors, metadata } = await readSafetensors(file('model-1.safetensors', header, Buffer.alloc(11)));
    expect(metadata).to.deep.equal({ k: 'v' });
    expect(tensors.get('c')).to.include({ dtype: 'U8', offset: header.length + 8 });
    const index = file('model.safetensors.index.json', JSON.stringify({ weight_map: { c: 'model-1.safetensors' } }));
    expect([...(await readTensors(index)).tensors.keys()]).to.deep.equal(['c']);
    expect(
      (await failure(readTensors(file('bad.index.json', JSON.stringify({ weight_map: { d: 'model-1.safetensors' } }))))).message,
    ).to.match(/has no tensor d/);
  });
});
