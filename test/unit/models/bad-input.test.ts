import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { readTensors } from '../../../lib/files/read-tensors.js';
import { buildHeader, readSafetensors } from '../../../lib/files/safetensors.js';
import { readTorchFile } from '../../../lib/files/torch-file.js';
import { openWeights } from '../../../lib/models/open.js';
import { packageRoot } from '../../../lib/package.js';

const goldens = join(packageRoot(), 'test/golden/encoders');
type Failure = { code: string; message: string };

async function failure(promise: Promise<unknown>): Promise<Failure> {
  try {
    await promise;
  } catch (error) {
    expect((error as Error).message, 'one line').to.not.include('\n');
    return error as Failure;
  }
  throw new Error('expected a failure, found none');
}

describe('damaged and hostile weights', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-weights-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  const path = (name: string) => join(work, name);
  function file(name: string, ...parts: (string | Uint8Array)[]): string {
    writeFileSync(path(name), Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part))));
    return path(name);
  }

  describe('safetensors', () => {
    const u64 = (n: number | bigint) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt(n));
      return bytes;
    };
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
      ['metadata that is no text', () => raw('metadata.safetensors', { __metadata__: { a: 1 } }, Buffer.alloc(0)), /strings alone/],
    ];
    for (const [name, make, expected] of cases) {
      it(`${name}: is refused`, async () => {
        const { code, message } = await failure(readSafetensors(make()));
        expect(code).to.equal('bad_safetensors');
        expect(message).to.match(expected);
      });
    }

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

  describe('torch files', () => {
    /** A zip with one stored entry, made here so that any byte can be wrong. */
    function zip(name: string, entry: string, data: Uint8Array, method = 0): string {
      const local = Buffer.alloc(30);
      local.writeUInt32LE(0x04034b50, 0);
      local.writeUInt16LE(entry.length, 26);
      const central = Buffer.alloc(46);
      central.writeUInt32LE(0x02014b50, 0);
      central.writeUInt16LE(method, 10);
      central.writeUInt32LE(data.length, 20);
      central.writeUInt32LE(data.length, 24);
      central.writeUInt16LE(entry.length, 28);
      const end = Buffer.alloc(22);
      end.writeUInt32LE(0x06054b50, 0);
      end.writeUInt16LE(1, 8);
      end.writeUInt16LE(1, 10);
      end.writeUInt32LE(46 + entry.length, 12);
      end.writeUInt32LE(30 + entry.length + data.length, 16);
      return file(name, local, entry, data, central, entry, end);
    }
    const pickle = (text: string) => Buffer.from(text, 'latin1');
    const evil = '\x80\x02cos\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R.';

    const cases: [name: string, make: () => string, code: string, expected: RegExp][] = [
      [
        'a global that could run',
        () => zip('evil.pt', 'a/data.pkl', pickle(evil)),
        'forbidden_pickle',
        /names os\.system.*none of it was run/,
      ],
      [
        'the same on the stack',
        () => zip('stack.pt', 'a/data.pkl', pickle('\x80\x04\x8c\x08builtins\x8c\x04eval\x93.')),
        'forbidden_pickle',
        /builtins\.eval/,
      ],
      [
        'the same in an old file',
        () => file('evil-old.pt', '\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.', evil),
        'forbidden_pickle',
        /os\.system/,
      ],
      ['an opcode that weights have no need of', () => zip('opcode.pt', 'a/data.pkl', pickle('\x80\x02i')), 'bad_pickle', /opcode 0x69/],
      ['a pickle that ends too early', () => zip('early.pt', 'a/data.pkl', pickle('\x80\x02}')), 'bad_pickle', /ends too early/],
      [
        'a pickle that takes from an empty stack',
        () => zip('stackless.pt', 'a/data.pkl', pickle('\x80\x02s.')),
        'bad_pickle',
        /empty stack/,
      ],
      [
        'a dict that holds itself',
        () => zip('itself.pt', 'a/data.pkl', pickle('\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.')),
        'bad_weights',
        /found no tensor/,
      ],
      ['a compressed pickle', () => zip('deflated.pt', 'a/data.pkl', pickle('}.'), 8), 'bad_archive', /found it compressed/],
      ['a zip of something else', () => zip('other.pt', 'hello.txt', pickle('hi')), 'bad_archive', /zip without data\.pkl/],
      ['a text', () => file('text.pt', 'these are no weights'), 'bad_pickle', /expected a file of torch\.save/],
      ['no file', () => path('absent.pt'), 'file_not_found', /ENOENT/],
    ];
    for (const [name, make, expectedCode, expected] of cases) {
      it(`${name}: is refused`, async () => {
        const { code, message } = await failure(readTorchFile(make()));
        expect(code).to.equal(expectedCode);
        expect(message).to.match(expected);
      });
    }

    it('cut short at any place: is refused', async () => {
      const whole = readFileSync(join(goldens, 'visual/final.pt'));
      const old = readFileSync(join(goldens, 'hf-legacy/pytorch_model.bin'));
      for (const [name, bytes] of [
        ['zip', whole],
        ['old', old],
      ] as const) {
        for (const part of [0.1, 0.5, 0.9, 0.999]) {
          const { code } = await failure(readTorchFile(file(`cut-${name}-${part}.pt`, bytes.subarray(0, Math.floor(bytes.length * part)))));
          expect(code).to.be.oneOf(['bad_archive', 'bad_pickle']);
        }
      }
    });
  });

  describe('models', () => {
    async function folder(name: string, config: unknown, tensors: { name: string; shape: number[] }[]): Promise<string> {
      await mkdir(path(name), { recursive: true });
      const entries = tensors.map((tensor) => ({ ...tensor, dtype: 'F32' as const }));
      const bytes = entries.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
      file(`${name}/model.safetensors`, buildHeader(entries), Buffer.alloc(bytes));
      file(`${name}/config.json`, JSON.stringify(config));
      return path(name);
    }

    it('say every tensor that is missing, unexpected or misshapen', async () => {
      const { tensors } = await readSafetensors(join(goldens, 'hf-b32/model.safetensors'));
      const wrong = [...tensors]
        .filter(([name]) => name !== 'vision_model.post_layernorm.bias')
        .map(([name, { shape }]) => ({ name, shape: name === 'vision_model.encoder.layers.1.mlp.fc2.bias' ? [7] : shape }));
      const ref = await folder('wrong', { vision_config: { num_attention_heads: 1 } }, [
        ...wrong,
        { name: 'vision_model.surprise', shape: [1] },
      ]);
      const { code, message } = await failure(openWeights(ref));
      expect(code).to.equal('bad_weights');
      expect(message).to.match(
        /missing vision_model\.post_layernorm\.bias; unexpected .*\.surprise; misshapen .*\.layers\.1\.mlp\.fc2\.bias \[7\] where \[64\]/,
      );
    });

    it('of the wrong family are refused, both ways', async () => {
      expect(await failure(openWeights(join(goldens, 'hf-b32'), { role: 'teacher' })))
        .to.include({ code: 'wrong_family' })
        .and.property('message')
        .match(/expected a DINOv2 for the teacher, found a CLIP/);
      expect(await failure(openWeights(join(goldens, 'dinov2'), { role: 'student' })))
        .to.include({ code: 'wrong_family' })
        .and.property('message')
        .match(/expected a CLIP for the student, found a DINOv2/);
      expect(await failure(openWeights(await folder('neither', {}, [{ name: 'x', shape: [1] }])))).to.include({ code: 'wrong_family' });
    });

    it('with another activation than the one asked for are refused', async () => {
      expect(await failure(openWeights(join(goldens, 'hf-b32'), { activation: 'gelu' }))).to.include({ code: 'activation_mismatch' });
      expect(await failure(openWeights(join(goldens, 'open-clip-checkpoint/epoch_3.pt')))).to.include({ code: 'activation_unknown' });
    });

    it('that are not there are an error that says what was looked for', async () => {
      expect(await failure(openWeights(path('nothing')))).to.include({ code: 'weights_not_found' });
      await mkdir(path('bare'), { recursive: true });
      expect((await failure(openWeights(path('bare')))).message).to.match(/expected model\.safetensors, .* found none of them/);
      expect((await failure(openWeights(file('weights.xyz', 'x')))).message).to.match(
        /expected a \.safetensors, \.pt, \.pth or \.bin file/,
      );
    });
  });
});
