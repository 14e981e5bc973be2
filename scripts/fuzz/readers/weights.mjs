/** Readers of weights: safetensors, their indices, and PyTorch's zips, pickles and TorchScript archives. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTokenizedFile } from '../../../dist/lib/data/conversations/tokenized-file.js';
import { openPixelFile } from '../../../dist/lib/data/images/pixel-file.js';
import { readTensors } from '../../../dist/lib/files/read-tensors.js';
import { mutate, mutateJson } from '../mutate.mjs';

const u64 = (n) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(n));
  return bytes;
};
const i64 = (...numbers) => Buffer.concat(numbers.map((n) => u64(BigInt.asUintN(64, BigInt(n)))));

/** A safetensors file of a header (JSON, or a text that may be none) and data. */
const safetensors = (header, data) => {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  return Buffer.concat([u64(json.length), json, data]);
};
const tensor = (dtype, shape, begin, end) => ({ dtype, shape, data_offsets: [begin, end] });

const plain = [
  {
    __metadata__: { format: 'pt', 'a "quoted" key': 'and\\ value' },
    'a.weight': tensor('F32', [2, 3], 0, 24),
    b: tensor('BF16', [4], 24, 32),
  },
  { é: tensor('U8', [], 0, 1), none: tensor('I64', [0, 5], 1, 1), c: tensor('F8_E4M3', [31], 1, 32) },
];
const pixels = { pixels: tensor('U8', [3, 3, 2, 2], 0, 36) };
const ids = {
  input_ids: tensor('I64', [2, 6], 0, 96),
  labels: tensor('I64', [2, 6], 96, 192),
  pixel_values: tensor('F32', [2, 3, 2, 2], 192, 288),
};
const idData = Buffer.concat([
  i64(1, 9, 9, 9, 9, 5, 1, 2, 3, 4, 5, 6),
  i64(-100, -100, -100, -100, -100, 5, -100, 2, 3, -100, -100, -100),
  Buffer.alloc(96, 7),
]);

/** Headers changed as JSON, in front of the data of the first. */
const headers = (seeds, data) => ({
  seeds: seeds.map((header) => safetensors(header, data)),
  make: (chance) => safetensors(mutateJson(chance, chance.of(seeds)), data),
});

const first = {
  weight_map: { 'a.weight': 'model-1.safetensors', b: 'model-1.safetensors', x: 'model-2.bin' },
  metadata: { total_size: 32 },
};

/** A stored zip; `crc` is left out, since nobody here compares it. */
export function zip(entries) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [name, data] of entries) {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt32LE(data.length, 18);
    local.writeUInt32LE(data.length, 22);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt32LE(data.length, 20);
    central.writeUInt32LE(data.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(at, 42);
    parts.push(local, Buffer.from(name, 'latin1'), data);
    directory.push(central, Buffer.from(name, 'latin1'));
    at += 30 + name.length + data.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, listed, end]);
}

const text = (value) => Buffer.concat([Buffer.from([0x58, value.length, 0, 0, 0]), Buffer.from(value, 'latin1')]);
const op = (code) => Buffer.from(code, 'latin1');
const global = (module, name) => op(`c${module}\n${name}\n`);
const storageId = (key, type = 'FloatStorage', count = 6) =>
  Buffer.concat([op('('), text('storage'), global('torch', type), text(key), text('cpu'), op(`K${String.fromCharCode(count)}tQ`)]);
const tensorOf = (key, sides = 'K\x02K\x03\x86', strides = 'K\x03K\x01\x86') =>
  Buffer.concat([
    global('torch._utils', '_rebuild_tensor_v2'),
    op('('),
    storageId(key),
    op(`K\0${sides}${strides}\x89`),
    global('collections', 'OrderedDict'),
    op(')Rt'),
    op('R'),
  ]);
const dict = (...items) => Buffer.concat([op('}('), ...items, op('u')]);
const pickle = (...parts) => Buffer.concat([op('\x80\x02'), ...parts, op('.')]);

const state = dict(text('a.weight'), tensorOf('0'), text('b'), tensorOf('1'));
const wrapped = dict(text('epoch'), op('K\x03'), text('state_dict'), Buffer.concat([op('q\x01')]), op('h\x01'));
const data = Buffer.alloc(24, 1);
const archive = (root, ...more) =>
  zip([
    ['archive/data.pkl', root],
    ['archive/byteorder', Buffer.from('little')],
    ['archive/data/0', data],
    ['archive/data/1', data],
    ...more,
  ]);
const script = pickle(
  global('__torch__', 'Model'),
  op(')\x81'),
  dict(
    text('training'),
    op('\x89'),
    text('visual'),
    Buffer.concat([global('__torch__.m', 'V'), op(')\x81'), dict(text('w'), tensorOf('0')), op('b')]),
  ),
  op('b'),
);
const magic = Buffer.concat([op('\x80\x02\x8a\x0a'), Buffer.from('6cfc9c46f9206aa85019', 'hex'), op('.')]);
const legacy = (root, keys = ['0', '1']) =>
  Buffer.concat([
    magic,
    pickle(op('M\xe9\x03')),
    pickle(op('}')),
    root,
    pickle(op(']('), ...keys.map(text), op('e')),
    ...keys.flatMap(() => [u64(6), data]),
  ]);

/** Whole ideas of a pickle, good and bad; a program is a row of them. */
const phrases = [
  ...[
    'N',
    '\x88',
    '\x89',
    'K\x05',
    'M\xff\xff',
    'J\xff\xff\xff\xff',
    '\x8a\x01\x80',
    '\x8a\0',
    'G\x7f\xf0\0\0\0\0\0\0',
    '}',
    ']',
    ')',
    '(',
    '0',
  ],
  ...[
    't',
    '\x85',
    '\x86',
    '\x87',
    'a',
    'e',
    's',
    'u',
    'b',
    'R',
    '\x81',
    'Q',
    '\x93',
    '\x94',
    'q\0',
    'h\0',
    'q\x01',
    'h\x01',
    'r\xff\xff\xff\x7f',
    'j\0\0\0\0',
  ],
  ...['\x95\0\0\0\0\0\0\0\0', '\x80\x04', '\x80\x09', '\x8c\x05torch', 'U\x01x', 'C\x02xy', 'T\xff\xff\xff\xff', 'B\x01\0\0\0x', 'i', '.'],
]
  .map(op)
  .concat([
    text('a'),
    text('state_dict'),
    text('storage'),
    global('collections', 'OrderedDict'),
    global('torch', 'FloatStorage'),
    global('os', 'system'),
    global('torch', 'constructor'),
    global('torch._utils', '_rebuild_tensor_v2'),
    global('torch._utils', '_rebuild_parameter'),
    global('__torch__', 'X'),
    global('torch.jit._pickle', 'build_intlist'),
    storageId('0'),
    storageId('9'),
    storageId('0', 'toString'),
    tensorOf('0'),
    tensorOf('0', ']', ']'),
    tensorOf('0', '(NtN\x85', ')'),
    dict(text('x'), tensorOf('1')),
    op('q\x02h\x02h\x02\x86'),
    op('\x85q\x03h\x03\x93'),
  ]);
const program = (chance) => pickle(...Array.from({ length: 1 + chance.below(40) }, () => chance.of(phrases)));

export const weights = {
  safetensors: { name: 'x.safetensors', ...headers(plain, Buffer.alloc(32)), read: readTensors },
  index: {
    name: 'model.safetensors.index.json',
    prepare(folder) {
      writeFileSync(join(folder, 'model-1.safetensors'), safetensors(plain[0], Buffer.alloc(32)));
      writeFileSync(join(folder, 'model-2.bin'), archive(pickle(dict(text('x'), tensorOf('0')))));
    },
    seeds: [Buffer.from(JSON.stringify(first))],
    make: (chance) => Buffer.from(mutateJson(chance, first)),
    read: readTensors,
  },
  'torch zip': {
    name: 'x.pt',
    seeds: [archive(pickle(state)), archive(pickle(dict(text('model'), state))), archive(pickle(wrapped))],
    // Bytes of the pickle alone: most changes of a zip are found before it is opened.
    make: (chance) => archive(mutate(chance, pickle(chance.of([state, wrapped])), script)),
    read: readTensors,
  },
  'torch pickle': { name: 'x.pth', seeds: [archive(pickle(state))], make: (chance) => archive(program(chance)), read: readTensors },
  'torch legacy': {
    name: 'x.bin',
    seeds: [legacy(pickle(state)), legacy(pickle(dict(text('c'), tensorOf('0'))), ['0'])],
    make: (chance) => legacy(chance.is(0.5) ? program(chance) : pickle(state), chance.of([['0', '1'], ['1', '0'], ['0', '0'], ['7'], []])),
    read: readTensors,
  },
  torchscript: { name: 'x.pt', seeds: [archive(script, ['archive/constants.pkl', pickle(op(')'))])], read: readTensors },
  pixels: {
    name: 'x.safetensors',
    ...headers([pixels], Buffer.alloc(36, 9)),
    async read(file) {
      const source = await openPixelFile(file);
      try {
        if (source.length > 0 && source.size <= 64) await source.copy(source.length - 1, new Uint8Array(3 * source.size ** 2), 0);
        await source.fingerprint();
      } finally {
        await source.close();
      }
    },
  },
  ids: {
    name: 'x.safetensors',
    ...headers([ids], idData),
    async read(file) {
      const source = await openTokenizedFile(file, { imageToken: 9, patches: 4, size: 2, maxLength: 5 });
      try {
        for (let i = 0; i < Math.min(4, source.length); i++) await (await source.read(i)).copyPixels(new Uint8Array(48), 0);
        await source.fingerprint();
      } finally {
        await source.close();
      }
    },
  },
};
