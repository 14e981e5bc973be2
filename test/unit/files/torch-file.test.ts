import { appendFileSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { readTorchFile } from '../../../lib/files/torch-file.js';
import { packageRoot } from '../../../lib/package.js';
import { failure, u64, useFolder } from './support.js';

const goldens = join(packageRoot(), 'test/golden/encoders');

describe('torch files', () => {
  const { path, file } = useFolder();
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
    ['a pickle that takes from an empty stack', () => zip('stackless.pt', 'a/data.pkl', pickle('\x80\x02s.')), 'bad_pickle', /empty stack/],
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

  describe('made to exhaust who reads them', () => {
    const pt = (name: string, ...parts: string[]) => zip(name, 'a/data.pkl', pickle(`\x80\x02${parts.join('')}.`));
    /** A tuple of two that are the same tuple of two, and so on: a few bytes a level, and twice the text. */
    const nested = (levels: number) => `)${Array.from({ length: levels }, () => 'q\x01h\x01\x86').join('')}`;
    const tensor =
      'ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0))tR';
    const text = (value: string) => `X${String.fromCharCode(value.length, 0, 0, 0)}${value}`;

    const bombs: [name: string, make: () => string, code: string, expected: RegExp][] = [
      ['a key whose text has 2^40 characters', () => pt('key.pt', '}', nested(40), tensor, 's'), 'bad_weights', /found no tensor/],
      ['a class whose name has', () => pt('name.pt', nested(40), 'q\x02h\x02\x93'), 'bad_pickle', /a class with something that is no text/],
      ['a storage whose name has', () => pt('storage.pt', '(', nested(40), 'tQ'), 'bad_pickle', /a storage of an unknown kind/],
      ['millions of dicts', () => pt('dicts.pt', '}'.repeat(3e6)), 'bad_pickle', /makes more than 2097152 objects/],
      ['millions of numbers', () => pt('numbers.pt', 'N'.repeat(9e6)), 'bad_pickle', /more than 8388608 steps/],
      [
        'a long list that is made a dict, many times',
        () => pt('pairs.pt', '](', '))\x86'.repeat(1e3), 'eq\x01', 'ccollections\nOrderedDict\nh\x01\x85R0'.repeat(1e4)),
        'bad_pickle',
        /more than 8388608 steps/,
      ],
      ['dicts within dicts', () => pt('deep.pt', `}${text('a')}`.repeat(200), tensor, 's'.repeat(200)), 'bad_pickle', /nested too deep/],
      [
        'names that grow',
        () => pt('long.pt', `}${text('a'.repeat(127))}`.repeat(80), tensor, 's'.repeat(80)),
        'bad_pickle',
        /names too long/,
      ],
      ['a state_dict that is its own', () => pt('own.pt', `}q\x01${text('state_dict')}h\x01s`), 'bad_weights', /found no tensor/],
      ['a number of 255 bytes', () => pt('long-number.pt', `\x8a\xff${'\x7f'.repeat(255)}`.repeat(1e4)), 'bad_weights', /found no tensor/],
    ];
    for (const [name, make, expectedCode, expected] of bombs) {
      it(`${name}: is refused`, async () => {
        const { code, message } = await failure(readTorchFile(make()));
        expect(code).to.equal(expectedCode);
        expect(message).to.match(expected);
      });
    }

    const malformed: [name: string, program: string, code: string][] = [
      ['an OrderedDict of a number', 'ccollections\nOrderedDict\nK\x05\x85R', 'bad_pickle'],
      ['an OrderedDict of no pairs', 'ccollections\nOrderedDict\n]K\x05a\x85R', 'bad_pickle'],
      ['a mark for a key', '}(Ns', 'bad_pickle'],
      ['a mark for a class', 'X\x01\0\0\0x(\x93', 'bad_pickle'],
      ['a mark for a storage', '(Q', 'bad_pickle'],
      ['a mark that is left', '(', 'bad_pickle'],
      [
        'a storage of a class that every object has',
        `(${text('storage')}ctorch\nconstructor\n${text('0')}${text('cpu')}K\x01tQ`,
        'forbidden_pickle',
      ],
      ['a tensor of something else', `ctorch._utils\n_rebuild_tensor_v2\n(}K\0))tR`, 'bad_pickle'],
      [
        'a tensor of more sides than libtorch takes',
        `}${text('a')}${tensor.replace('))tR', `(${'K\x01'.repeat(65)}t(${'K\x01'.repeat(65)}ttR`)}s`,
        'bad_pickle',
      ],
    ];
    for (const [name, program, expectedCode] of malformed) {
      it(`${name}: is refused`, async () => {
        expect((await failure(readTorchFile(pt('malformed.pt', program)))).code).to.equal(expectedCode);
      });
    }

    it('a directory of 2 GiB or of endless entries: is refused', async () => {
      for (const [length, entries] of [
        [2 ** 31 + 5, 1],
        [46, 65_535],
      ] as const) {
        const end = Buffer.alloc(22 + 20 + 56);
        end.writeUInt32LE(0x06064b50, 0);
        end.writeBigUInt64LE(BigInt(entries) * 65_536n, 32);
        end.writeBigUInt64LE(BigInt(length), 40);
        end.writeUInt32LE(0x07064b50, 56);
        end.writeUInt32LE(0x06054b50, 76);
        // Sparse: it takes no room on the disk.
        const huge = file('huge.pt', 'PK\x03\x04');
        truncateSync(huge, 3 * 2 ** 30);
        end.writeBigUInt64LE(BigInt(3 * 2 ** 30), 56 + 8);
        appendFileSync(huge, end);
        const { code, message } = await failure(readTorchFile(huge));
        expect(code).to.equal('bad_archive');
        expect(message).to.match(/more than a model has/);
      }
    });

    it('an old file that lists a storage twice, or one that no tensor has: is refused', async () => {
      const head = '\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.';
      const root = `\x80\x02}${text('a')}${tensor.replace('X\x01\0\0\x000', text('0'))}s.`;
      for (const keys of [['0', '0'], ['1']])
        expect(
          (
            await failure(
              readTorchFile(file('listed.pt', head, root, `\x80\x02](${keys.map(text).join('')}e.`, u64(1), 'abcd', u64(1), 'abcd')),
            )
          ).message,
        ).to.match(/or twice/);
    });
  });
});
