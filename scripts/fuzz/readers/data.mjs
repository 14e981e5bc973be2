/** Readers of data and of a run's own files. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import sharp from 'sharp';

import { resolveAlignConfig } from '../../../dist/lib/align/options.js';
import { readConfigFile } from '../../../dist/lib/config/files.js';
import { openSamples } from '../../../dist/lib/data/conversations/open.js';
import { decode } from '../../../dist/lib/data/images/decode.js';
import { openSource } from '../../../dist/lib/data/images/sources.js';
import { SkippedImages } from '../../../dist/lib/data/skipped.js';
import { latestCheckpoint } from '../../../dist/lib/run/checkpoints.js';
import { claimInputs } from '../../../dist/lib/run/inputs.js';
import { MetricsFile } from '../../../dist/lib/run/metrics.js';
import { mutateJson } from '../mutate.mjs';

const lines = (...values) => Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
const json = (value) => Buffer.from(JSON.stringify(value));

/** Lines of JSON, each of which may be changed. */
const ofLines = (name, like, read) => ({
  name,
  seeds: [lines(...like)],
  make: (chance) => Buffer.from(like.map((value) => `${chance.is(0.4) ? mutateJson(chance, value) : JSON.stringify(value)}\n`).join('')),
  read,
});

/** A tar's header and its member, padded. */
function member(path, content, type = '0', changed = () => {}) {
  const header = Buffer.alloc(512);
  header.write(path, 0, 100);
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${content.length.toString(8).padStart(11, '0')} `, 124);
  header.write('00000000000 ', 136);
  header.write(type, 156);
  header.write('ustar\x0000', 257);
  changed(header);
  header.fill(' ', 148, 156);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
const pax = (record) => {
  const [key, value] = record;
  for (let digits = 1; ; digits++) {
    const length = digits + Buffer.byteLength(` ${key}=${value}\n`);
    if (String(length).length === digits) return Buffer.from(`${length} ${key}=${value}\n`);
  }
};
const image = Buffer.from('not an image');
const tarOf = (...members) => Buffer.concat([...members, Buffer.alloc(1024)]);
const tars = [
  tarOf(member('000.jpg', image), member('000.txt', Buffer.from('a cat')), member('001.png', image)),
  tarOf(
    member('PaxHeader/x', pax(['path', 'a/long/name.jpg']), 'x'),
    member('short.jpg', image),
    member('g', pax(['size', '12']), 'g'),
    member('b.jpg', image),
  ),
  tarOf(
    member('././@LongLink', Buffer.from(`${'n'.repeat(200)}.jpg\0`), 'L'),
    member('n.jpg', image),
    member('folder', Buffer.alloc(0), '5'),
  ),
];
/** Members with sums that are right over numbers that are not. */
const oddTar = (chance) =>
  tarOf(
    ...Array.from({ length: 1 + chance.below(6) }, (_, i) => {
      const content = chance.of([
        image,
        Buffer.alloc(chance.below(1500), 65),
        pax(['size', chance.of(['-512', '-1', '1e3', '1e999', 'NaN', '0x10', '0.5', '512', '9007199254740993', ''])]),
        pax(['path', chance.of(['../x.jpg', 'x.jpg', '', 'a\0b.jpg', '__x__.jpg', '.jpg', 'y'.repeat(3000)])]),
        pax([chance.of(['__proto__', 'constructor', 'type', 'mtime', 'linkpath']), chance.of(['1', 'x', 'File', 'Directory', '-1'])]),
      ]);
      return member(
        chance.of([`${i}.jpg`, '', 'a.JPG', 'a.jpg', 'x'.repeat(100)]),
        content,
        chance.of(['0', '\0', 'x', 'g', 'L', 'K', '5', '2', '7', 'S', 'N', '\xff']),
        (header) => {
          if (chance.is(0.2)) header.fill(chance.of(['-', '9', ' ', '\x80', '\xff', '7']), 124, 124 + chance.below(13));
          if (chance.is(0.1))
            header.write(chance.of(['-0000000001', '77777777777', '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe']), 124, 'latin1');
        },
      );
    }),
  );

/** Every format at its smallest, so that a change meets something. */
async function images() {
  const pixels = Buffer.from(Array.from({ length: 12 * 9 * 3 }, (_, i) => (i * 37) & 255));
  const rgb = () => sharp(pixels, { raw: { width: 12, height: 9, channels: 3 } });
  const grey = () => rgb().toColourspace('b-w');
  const all = [
    rgb().jpeg(),
    rgb().jpeg({ progressive: true }),
    grey().jpeg(),
    rgb().toColourspace('cmyk').jpeg(),
    rgb().png(),
    rgb().png({ palette: true }),
    grey().png(),
    rgb().toColourspace('rgb16').png(),
    rgb().toColourspace('grey16').png(),
    rgb().ensureAlpha(0.5).png(),
    rgb().webp(),
    rgb().webp({ lossless: true }),
    rgb().gif(),
    rgb().tiff({ compression: 'none' }),
    rgb().tiff({ compression: 'lzw' }),
    grey().tiff({ compression: 'deflate' }),
    rgb().tiff({ tile: true }),
  ];
  return Promise.all(all.map((pipeline) => pipeline.toBuffer()));
}

const records = [
  {
    id: '1',
    image: 'a.jpg',
    conversations: [
      { from: 'human', value: '<image>\nWhat?' },
      { from: 'gpt', value: 'A cat.' },
    ],
  },
  {
    id: 2,
    conversations: [
      { from: 'human', value: 'Hello "you" \\ {[' },
      { from: 'gpt', value: 'Hi.' },
      { from: 'human', value: 'So?' },
      { from: 'gpt', value: '' },
    ],
  },
];
/** Words to their places in a short list: enough to encode. */
const tokenizer = {
  bos: 1,
  eos: 2,
  unk: undefined,
  eosText: '</s>',
  vocabulary: 300,
  encode: (text) => (text === '</s>' ? [2] : [...Buffer.from(text)]),
};
async function useSamples(file) {
  const source = await openSamples(file, {
    tokenizer,
    patches: 4,
    size: 2,
    aspect: 'pad',
    maxLength: 64,
    missing: 'skip',
    verifyImages: true,
  });
  try {
    for (let i = 0; i < source.length; i++) {
      const sample = await source.read(i);
      if (source.lengths[i] > 0) await sample.copyPixels(new Uint8Array(12), 0);
    }
    await source.fingerprint();
  } finally {
    await source.close();
  }
}

const yaml = [
  'student: openai/clip-vit-base-patch16\nteacher: facebook/dinov2-base\ndata: photos\nout: runs/x\nsteps: 100\nkernel: gaussian\n',
  '# a recipe\nstudent: a\nteacher: b\ndata: "shards/{0..9}.tar"\nw: &half 0.5\nbeta1: *half\nout: |\n  two\n  lines\nfit_kernel: true\n',
].map((text) => Buffer.from(text));
const yamlParts = [
  'a: &a [*a]\n',
  'a: &a\n  b: *a\n',
  '? [x]\n: 1\n',
  '- 1\n',
  '!!binary x\n',
  '!!set {a}\n',
  '%YAML 1.2\n---\n',
  '<<: *x\n',
  '{',
  '[',
  '"',
  '\t',
  ': ',
  '&b ',
  '*b ',
  '|\n',
  '--- \n',
  'steps: 1e999\n',
  'steps: 0x10\n',
  'steps: !!float .nan\n',
];
const oddYaml = (chance) => {
  const parts = Array.from({ length: 1 + chance.below(8) }, () => (chance.is(0.5) ? chance.of(yamlParts) : chance.of(yaml).toString()));
  return Buffer.from(chance.is(0.05) ? chance.of(['[', '{a: ', '- ', '&a '].map((part) => part.repeat(3000))) : parts.join(''));
};

/** A run's folder around the file. */
const run = (file) => ({ path: dirname(file), file: (...names) => join(dirname(file), ...names) });
const metrics = [1, 2, 3].map((step) => ({ step, epoch: 0, lr: 1e-5, loss: 0.5 / step }));

export const data = {
  tar: {
    name: 'x.tar',
    seeds: tars,
    make: oddTar,
    async read(file) {
      const source = await openSource(file);
      for (let i = 0; i < Math.min(8, source.length); i++) await source.read(i);
      await source.fingerprint();
    },
  },
  image: {
    name: 'x.jpg',
    seeds: await images(),
    async read(file) {
      const { data: pixels, width, height, channels } = await decode(file);
      if (![1, 3].includes(channels) || pixels.length !== width * height * channels)
        throw new Error(`${pixels.length} bytes of ${width} x ${height} x ${channels}`);
    },
  },
  'records array': {
    name: 'x.json',
    beside: { 'a.jpg': image },
    seeds: [json(records)],
    make: (chance) => Buffer.from(mutateJson(chance, records)),
    read: useSamples,
  },
  'records lines': {
    ...ofLines('x.jsonl', records, useSamples),
    beside: {
      'a.jpg': await sharp({ create: { width: 3, height: 2, channels: 3, background: '#123' } })
        .png()
        .toBuffer(),
    },
  },
  yaml: { name: 'x.yaml', seeds: yaml, make: oddYaml, read: async (file) => resolveAlignConfig(await readConfigFile(file)) },
  skipped: ofLines(
    'skipped.jsonl',
    [
      { index: 3, name: 'a.jpg', reason: 'found an empty file' },
      { index: 4, name: 'b', reason: 'c' },
    ],
    (file) => SkippedImages.open(file, 10),
  ),
  metrics: ofLines('metrics.jsonl', metrics, async (file) => (await MetricsFile.open(file, 2)).close()),
  inputs: {
    name: 'inputs.json',
    seeds: [json({ student: 'ab12', data: 'cd34', effectiveBatch: '64' })],
    make: (chance) => Buffer.from(mutateJson(chance, { student: 'ab12', data: 'cd34', effectiveBatch: '64' })),
    read: (file) => claimInputs(run(file), { student: 'ab12', data: 'cd34', effectiveBatch: '64' }),
  },
  checkpoint: {
    name: 'state.json',
    seeds: [json({ step: 20, version: '0.1.0' })],
    make: (chance) => Buffer.from(mutateJson(chance, { step: 20, version: '0.1.0' })),
    read(file) {
      const folder = join(dirname(file), 'checkpoints', 'step-000020');
      if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
      rmSync(join(folder, 'state.json'), { force: true });
      writeFileSync(join(folder, 'state.json'), this.bytes);
      return latestCheckpoint(run(file));
    },
  },
};
