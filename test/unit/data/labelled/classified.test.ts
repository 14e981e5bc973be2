import { mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { openClassified } from '../../../../lib/data/labelled/classified.js';
import type { ClassifiedSet } from '../../../../lib/data/labelled/sets.js';
import { fillTemplate, promptsOf } from '../../../../lib/data/labelled/templates.js';
import { failure, goldenJson, inFolder, write } from '../images/support.js';
import { labelled, names, tarOf, text, withCopy } from './support.js';

interface Expected {
  keys: string[];
  labels: number[];
  marks: number[][];
  classes: string[];
  templates: string[];
  prompts: string[][];
}

const labelsOf = ({ answers }: ClassifiedSet) =>
  answers.kind === 'one' ? [...answers.labels] : expect.fail('expected one class an image');

describe('class folders', () => {
  it("have torchvision's order and labels", async () => {
    const { files, classes, samples } = await goldenJson<{ files: string[]; classes: string[]; samples: [string, number][] }>(
      'labelled',
      'class-folders.json',
    );
    await inFolder(async (folder) => {
      await write(folder, Object.fromEntries(files.map((name) => [name, name])));
      const set = await openClassified(folder);
      expect(set.classes).to.deep.equal(classes);
      expect(names(set.images).map((name, i) => [name, labelsOf(set)[i]])).to.deep.equal(samples);
      expect(await text(set.images, 3)).to.equal(samples[3]![0]);
    });
  });

  it('are those of the split where there are splits, and say so where there are none', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'train/a/1.jpg': '', 'train/b/2.jpg': '', 'test/b/3.jpg': '', 'test/c/4.jpg': '' });
      const set = await openClassified(folder);
      expect([set.classes, names(set.images), labelsOf(set), set.notes]).to.deep.equal([['b', 'c'], ['b/3.jpg', 'c/4.jpg'], [0, 1], []]);
      expect((await openClassified(folder, { split: 'train' })).classes).to.deep.equal(['a', 'b']);
      const error = await failure(openClassified(folder, { split: 'val' }));
      expect(error).to.include({ code: 'split_not_found' });
      expect(error.message).to.include('found test, train');
      expect((await openClassified(join(folder, 'train'))).notes[0]).to.include('has no folder test');
    });
  });

  it('may be without an image, and have names and templates', async () => {
    await inFolder(async (folder) => {
      await write(folder, {
        'n1/1.jpg': '',
        'n3/2.jpg': '',
        'loose.jpg': '',
        'classnames.txt': 'one\n\nthree\n',
        'zeroshot_classification_templates.txt': 'a {c}.\n{} in {{braces}}\n\n',
      });
      await mkdir(join(folder, 'n2'));
      const set = await openClassified(folder);
      expect(labelsOf(set)).to.deep.equal([0, 2]);
      expect([set.classCount, set.classes]).to.deep.equal([3, ['one', '', 'three']]);
      expect(promptsOf(set)).to.deep.equal([
        ['a one.', 'one in {braces}'],
        ['a .', ' in {braces}'],
        ['a three.', 'three in {braces}'],
      ]);
      expect(set.notes.at(-1)).to.include('1 images in');
      await write(folder, { 'classnames.txt': 'one\ntwo' });
      expect(await failure(openClassified(folder))).to.include({ code: 'wrong_count' });
    });
  });

  it('that are none, or hold no image, are errors', async () => {
    await inFolder(async (folder) => {
      await write(folder, { 'flat/1.jpg': '', 'texts/a/b.txt': '', file: '' });
      expect(await failure(openClassified(join(folder, 'flat')))).to.include({ code: 'data_format' });
      expect(await failure(openClassified(join(folder, 'texts')))).to.include({ code: 'data_empty' });
      expect(await failure(openClassified(join(folder, 'file')))).to.include({ code: 'data_format' });
      expect(await failure(openClassified(join(folder, 'none')))).to.include({ code: 'data_not_found' });
    });
  });
});

describe("CLIP_benchmark's shards", () => {
  let expected: Expected;
  before(async () => {
    expected = await goldenJson<Expected>('labelled', 'wds.json');
  });

  it('have their labels, names and templates, empty and repeated names too', async () => {
    const set = await openClassified(labelled('wds'));
    expect(names(set.images)).to.deep.equal(expected.keys.map((key, i) => `${i < 3 ? 0 : 1}.tar/${key}.png`));
    expect(labelsOf(set)).to.deep.equal(expected.labels);
    expect(set.classes).to.deep.equal(expected.classes);
    expect(set.templates).to.deep.equal(expected.templates);
    expect(promptsOf(set)).to.deep.equal(expected.prompts);
    expect(set.notes).to.deep.equal(['2 files .json of the shards are not used']);
    expect((await set.images.read(0)).subarray(1, 4)).to.deep.equal(Buffer.from('PNG'));
    await set.close();
  });

  it('may say several classes of an image', async () => {
    const { answers, classCount } = await openClassified(labelled('multilabel'));
    expect(classCount).to.equal(5);
    expect(answers).to.deep.equal({ kind: 'several', marks: Uint8Array.from(expected.marks.flat()) });
  });

  it('lose their empty names under the protocol kuea-release alone', async () => {
    const set = await openClassified(labelled('wds'), { protocol: 'kuea-release' });
    expect(set.classes).to.deep.equal(expected.classes.filter((name) => name !== ''));
    expect(set.classCount).to.equal(5);
    expect(() => promptsOf(set)).to.throw(/expected names of 5 classes, found 4/);
  });

  it('may be named by other files, which must be there', async () => {
    await inFolder(async (folder) => {
      await write(folder, { names: 'a\r\nb\r\nc\r\nd\r\ne', templates: 'the {0}', empty: '' });
      const [classes, templates] = [join(folder, 'names'), join(folder, 'templates')];
      const set = await openClassified(labelled('wds'), { classes, templates });
      expect(promptsOf(set)).to.deep.equal([['the a'], ['the b'], ['the c'], ['the d'], ['the e']]);
      for (const name of ['empty', 'missing'])
        expect(await failure(openClassified(labelled('wds'), { classes: join(folder, name) }))).to.include({ code: 'data_not_found' });
      await write(folder, { names: 'a\nb\nc\nd' });
      const few = await failure(openClassified(labelled('wds'), { classes }));
      expect([few.code, few.message]).to.satisfy(
        ([code, message]: string[]) => code === 'wrong_count' && message!.includes('a label is 4'),
      );
    });
  });

  it('have a fingerprint of images, labels, names and templates', async () => {
    await withCopy('wds', async (folder) => {
      const fingerprint = async () => (await openClassified(folder)).fingerprint();
      const first = await fingerprint();
      expect(first).to.match(/^[0-9a-f]{64}$/);
      expect(await fingerprint()).to.equal(first);
      expect(await (await openClassified(folder, { protocol: 'kuea-release' })).fingerprint()).to.not.equal(first);
      await write(folder, { 'zeroshot_classification_templates.txt': 'a {c}' });
      expect(await fingerprint()).to.not.equal(first);
      await rm(join(folder, 'zeroshot_classification_templates.txt'));
      await write(folder, {
        'test/1.tar': tarOf([
          ['x.png', 'p'],
          ['x.cls', '1'],
        ]),
      });
      const one = await fingerprint();
      await write(folder, {
        'test/1.tar': tarOf([
          ['x.png', 'p'],
          ['x.cls', '2'],
        ]),
      });
      expect(await fingerprint()).to.not.equal(one);
    });
  });

  const one = (files: readonly (readonly [string, string | Buffer])[]) => tarOf([['k0.png', 'p'], ['k0.cls', '0'], ...files]);
  const faults: [why: string, files: Record<string, string | Buffer>, code: string, message: RegExp][] = [
    ['no nshards.txt', { 'test/nshards.txt': 'two' }, 'data_format', /expected the number of shards in .*found "two"/],
    ['no shard at all', { 'test/nshards.txt': '0' }, 'data_format', /found "0"/],
    ['a shard that is not counted', { 'test/nshards.txt': '1' }, 'wrong_count', /expected 1 shards .* found 1 more, the first 1\.tar/],
    ['a shard of another name', { 'test/02.tar': '' }, 'wrong_count', /the first 02\.tar/],
    ['a shard that is missing', { 'test/nshards.txt': '3' }, 'data_not_found', /found 1 missing, the first 2\.tar/],
    [
      'a sample without .cls',
      {
        'test/1.tar': one([
          ['key7.png', 'p'],
          ['key8.cls', '1'],
        ]),
      },
      'bad_labels',
      /a \.cls file for the sample key7 in/,
    ],
    ['a sample without an image', { 'test/1.tar': one([['key8.cls', '1']]) }, 'bad_shard', /an image for the sample key8 in/],
    [
      'two answers',
      {
        'test/1.tar': one([
          ['k1.png', 'p'],
          ['k1.cls', '1'],
          ['k1.cls', '2'],
        ]),
      },
      'bad_shard',
      /one \.cls file a sample/,
    ],
    [
      'a key of another shard',
      {
        'test/1.tar': tarOf([
          ['s0000001.png', ''],
          ['s0000001.cls', '1'],
        ]),
      },
      'bad_shard',
      /s0000001 in .*0\.tar and in 1\.tar/,
    ],
    [
      'a label that is none',
      {
        'test/1.tar': tarOf([
          ['k.png', 'p'],
          ['k.cls', '-1'],
        ]),
      },
      'bad_labels',
      /class number.*of k in .*found "-1"/,
    ],
    [
      'a label beyond all',
      {
        'test/1.tar': tarOf([
          ['k.png', 'p'],
          ['k.cls', '4000000000'],
        ]),
      },
      'bad_labels',
      /4000000000/,
    ],
    [
      'a label without a name',
      {
        'test/1.tar': tarOf([
          ['k.png', 'p'],
          ['k.cls', '5'],
        ]),
      },
      'wrong_count',
      /at least 6 names/,
    ],
    [
      'an answer of many bytes',
      {
        'test/1.tar': tarOf([
          ['k.png', 'p'],
          ['k.cls', '1'.repeat(2 ** 20 + 1)],
        ]),
      },
      'bad_labels',
      /at most 1048576 bytes/,
    ],
    ['a type that nobody knows', { 'dataset_type.txt': 'detection' }, 'bad_labels', /found "detection"/],
    ['captions', { 'dataset_type.txt': 'retrieval\n' }, 'wrong_task', /found images with captions/],
    ['names that are not UTF-8', { 'classnames.txt': Buffer.from([0xe9]) }, 'bad_labels', /expected UTF-8/],
    ['a template without a place', { 'zeroshot_classification_templates.txt': 'a photo' }, 'bad_template', /"a photo" without it/],
    ['a template of other fields', { 'zeroshot_classification_templates.txt': '{c} {d}' }, 'bad_template', /found \{d\} in/],
  ];
  for (const [why, files, code, message] of faults)
    it(`with ${why} are refused`, () =>
      withCopy('wds', async (folder) => {
        await write(folder, files);
        const error = await failure(openClassified(folder));
        expect([error.code, error.message]).to.satisfy(
          ([c, m]: [string, string]) => c === code && message.test(m),
          `${error.code}: ${error}`,
        );
      }));

  it('without nshards.txt, cut short, or of another split are refused', () =>
    withCopy('wds', async (folder) => {
      expect((await failure(openClassified(folder, { split: 'train' }))).message).to.include(`found test: name one of these`);
      await truncate(join(folder, 'test', '1.tar'), 560);
      expect(await failure(openClassified(folder))).to.include({ code: 'truncated_shard' });
      await rm(join(folder, 'test', 'nshards.txt'));
      expect((await failure(openClassified(folder))).message).to.include('found no such file');
    }));

  it('with marks that are none are refused', () =>
    withCopy('multilabel', async (folder) => {
      const npy = (header: string, body: number[]) => {
        const text = Buffer.from(`${header}\n`);
        return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), Buffer.from([text.length, 0]), text, Buffer.from(body)]);
      };
      const row = (shape: string, type = '|u1') => `{'descr': '${type}', 'fortran_order': False, 'shape': ${shape}, }`;
      for (const [bytes, message] of [
        [npy(row('(5,)'), [0, 1, 0, 2, 0]), /found 2$/],
        [npy(row('(5,)'), [0, 1]), /zeros and ones/],
        [npy(row('(1, 5)'), [0, 1, 0, 1, 0]), /zeros and ones/],
        [npy(row('(5,)', '|O'), [0, 1, 0, 1, 0]), /zeros and ones/],
        [npy(row('(5,)', 'constructor'), [0, 1, 0, 1, 0]), /zeros and ones/],
        [npy(row('(4,)'), [0, 1, 0, 1]), /expected 5 marks for each image, found 4 for 1\.tar\/k\.png/],
        [Buffer.from('no'), /found other bytes/],
      ] as const) {
        await writeFile(
          join(folder, 'test', '1.tar'),
          tarOf([
            ['k.png', 'p'],
            ['k.npy', bytes],
          ]),
        );
        const error = await failure(openClassified(folder));
        expect(error).to.include({ code: 'bad_labels' });
        expect(error.message).to.match(message);
      }
    }));
});

describe('templates', () => {
  it("take the name as Python's format does, whatever is in it", () => {
    expect(fillTemplate('a {c}, {{c}}', '$& {c} {}')).to.equal('a $& {c} {}, {c}');
  });
});
