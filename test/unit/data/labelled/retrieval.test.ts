import { join } from 'node:path';

import { expect } from 'chai';

import { openRetrieval } from '../../../../lib/data/labelled/retrieval.js';
import { failure, goldenJson, inFolder, write } from '../images/support.js';
import { labelled, names, tarOf, text, withCopy } from './support.js';

const sentences = (...raw: string[]) => raw.map((one) => ({ raw: one, tokens: [] }));

const karpathy = JSON.stringify({
  dataset: 'flickr30k',
  images: [
    { filename: 'b.jpg', split: 'test', imgid: 0, sentences: sentences('B one', 'B two') },
    { filename: 't.jpg', split: 'train', imgid: 1, sentences: sentences('T') },
    { filepath: 'val2014', filename: 'a.jpg', split: 'test', imgid: 2, sentences: sentences('A') },
  ],
});

const coco = {
  images: [
    { id: 9, file_name: 'b.jpg', height: 1 },
    { id: 2, file_name: 'val2014/a.jpg', height: 1 },
  ],
  annotations: [
    { id: 5, image_id: 9, caption: 'B one' },
    { id: 4, image_id: 2, caption: 'A' },
    { id: 1, image_id: 9, caption: 'B two' },
  ],
};

const lines = 'image,caption\nb.jpg,B one, and more\nval2014/a.jpg,A.jpg,x\n\nb.jpg,B two\n';

const images = { 'images/b.jpg': 'b', 'images/val2014/a.jpg': 'a' };

describe('images with captions', () => {
  it("come from CLIP_benchmark's shards, a caption a line, empty ones too", async () => {
    const { captions } = await goldenJson<{ captions: string[][] }>('labelled', 'wds.json');
    const set = await openRetrieval(labelled('retrieval'));
    expect(set.captions).to.deep.equal(captions.flat());
    expect(set.captions).to.include('snow!\\nand rain');
    expect([...set.owner]).to.deep.equal(captions.flatMap((own, i) => own.map(() => i)));
    expect(set.images.length).to.equal(captions.length);
    expect(await set.fingerprint()).to.match(/^[0-9a-f]{64}$/);
  });

  const files: [what: string, name: string, content: string, paths: string[], captions: string[], owner: number[]][] = [
    ["Karpathy's json", 'k.json', karpathy, ['b.jpg', 'val2014/a.jpg'], ['B one', 'B two', 'A'], [0, 0, 1]],
    ["COCO's json, by their ids", 'c.json', JSON.stringify(coco), ['val2014/a.jpg', 'b.jpg'], ['A', 'B one', 'B two'], [0, 1, 1]],
    ['lines', 'l.txt', lines, ['b.jpg', 'val2014/a.jpg'], ['B one, and more', 'B two', 'A.jpg,x'], [0, 0, 1]],
  ];
  for (const [what, name, content, paths, captions, owner] of files)
    it(`come from ${what}`, () =>
      inFolder(async (folder) => {
        await write(folder, { ...images, [name]: content });
        const set = await openRetrieval(join(folder, name), { images: join(folder, 'images') });
        expect(names(set.images)).to.deep.equal(paths);
        expect(set.captions).to.deep.equal(captions);
        expect([...set.owner]).to.deep.equal(owner);
        expect(await text(set.images, paths.indexOf('val2014/a.jpg'))).to.equal('a');
      }));

  it('lie beside their file unless somebody says where', () =>
    inFolder(async (folder) => {
      await write(folder, { 'b.jpg': 'b', 'l.txt': 'image,caption\nb.jpg,B' });
      const set = await openRetrieval(join(folder, 'l.txt'));
      const first = await set.fingerprint();
      await write(folder, { 'l.txt': 'image,caption\nb.jpg,C' });
      expect(await (await openRetrieval(join(folder, 'l.txt'))).fingerprint()).to.not.equal(first);
    }));

  const faults: [why: string, name: string, content: string | Buffer, code: string, message: RegExp][] = [
    ['another split', 'k.json', karpathy.replaceAll('"test"', '"val"'), 'split_not_found', /found those of val, train/],
    [
      'an image that is not there',
      'l.txt',
      `${lines}c.jpg,C`,
      'missing_images',
      /the 3 images .* found 1 .*images\/c\.jpg \(no such file\)/,
    ],
    ['a path that leads out', 'l.txt', 'image,caption\n../l.jpg,C', 'missing_images', /leads out of the folder/],
    ['a path from the root', 'l.txt', 'image,caption\n/etc/l.jpg,C', 'missing_images', /leads out of the folder/],
    ['no JSON', 'k.json', '{"images"', 'bad_annotations', /found no JSON/],
    ['JSON of another kind', 'k.json', '[1]', 'bad_annotations', /found the whole: /],
    [
      'instances instead of captions',
      'c.json',
      JSON.stringify({ ...coco, annotations: [{ image_id: 2 }] }),
      'bad_annotations',
      /annotations\.0\.caption/,
    ],
    ['no image', 'c.json', '{"images":[],"annotations":[]}', 'bad_annotations', /found no image/],
    [
      'an image without a caption',
      'c.json',
      JSON.stringify({ ...coco, annotations: [] }),
      'bad_annotations',
      /no caption for the image val2014/,
    ],
    [
      'two images of an id',
      'c.json',
      JSON.stringify({ ...coco, images: [coco.images[0], coco.images[0]] }),
      'bad_annotations',
      /two images of the id 9/,
    ],
    [
      'an image twice',
      'c.json',
      JSON.stringify({ ...coco, images: [coco.images[0], { id: 2, file_name: 'b.jpg' }] }),
      'bad_annotations',
      /b\.jpg twice/,
    ],
    ['a caption of no image', 'c.json', JSON.stringify({ ...coco, images: [coco.images[0]] }), 'bad_annotations', /for the image 2, which/],
    ['a line of another kind', 'l.txt', `${lines}no comma`, 'bad_annotations', /"no comma" in line 6/],
    ['text that is not UTF-8', 'l.txt', Buffer.from([0xff, 0xfe]), 'bad_labels', /UTF-8/],
  ];
  for (const [why, name, content, code, message] of faults)
    it(`with ${why} are refused`, () =>
      inFolder(async (folder) => {
        await write(folder, { ...images, [name]: content });
        const error = await failure(openRetrieval(join(folder, name), { images: join(folder, 'images') }));
        expect(error).to.include({ code });
        expect(error.message).to.match(message);
      }));

  it('of shards without .txt, without a caption, or with classes are refused', () =>
    withCopy('retrieval', async (folder) => {
      const shard = (files: [string, string][]) => write(folder, { 'test/1.tar': tarOf(files) });
      await shard([['k.png', '']]);
      expect((await failure(openRetrieval(folder))).message).to.include('a .txt file for the sample k in');
      await shard([
        ['k.png', ''],
        ['k.txt', ''],
      ]);
      expect((await failure(openRetrieval(folder))).message).to.include('.txt file of k in');
      expect(await failure(openRetrieval(labelled('wds')))).to.include({ code: 'wrong_task' });
      expect(await failure(openRetrieval(join(folder, 'none')))).to.include({ code: 'data_not_found' });
    }));
});
