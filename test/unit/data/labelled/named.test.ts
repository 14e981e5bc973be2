import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { openClassified } from '../../../../lib/data/labelled/classified.js';
import { findNamedSet, namedSet, namedSets } from '../../../../lib/data/labelled/named.js';
import { openRetrieval } from '../../../../lib/data/labelled/retrieval.js';
import { withEnvironment } from '../../../environment.js';
import { FakeHub } from '../../../fake-hub.js';
import { failure, inFolder, write } from '../images/support.js';
import { names, tarOf } from './support.js';

/** A split of `counts.images` samples in one shard. */
const shard = (images: number, answer: 'cls' | 'txt', content: (i: number) => string) =>
  tarOf(
    Array.from({ length: images }, (_, i) => i).flatMap((i): [string, string][] => [
      [`s${i}.png`, 'p'],
      [`s${i}.${answer}`, content(i)],
    ]),
  );
const lines = (count: number, line: (i: number) => string) => Array.from({ length: count }, (_, i) => `${line(i)}\n`).join('');

/** DTD's test split with other numbers where a test says so. */
const dtd = ({ images = 1880, classes = 47, templates = 8 } = {}) => ({
  'classnames.txt': lines(classes, (i) => `texture ${i}`),
  'zeroshot_classification_templates.txt': lines(templates, () => 'a {c}'),
  'test/nshards.txt': '1',
  'test/0.tar': shard(images, 'cls', (i) => `${i % classes}`),
});

describe('published sets', () => {
  it('go by their names and by those of CLIP_benchmark', async () => {
    const known = namedSets();
    expect(known).to.have.length(18);
    const ids = new Set<string>();
    for (const name of known) {
      const set = await namedSet(name);
      expect(set.hub).to.match(/^clip-benchmark\/wds_/);
      for (const id of [name, ...set.ids]) {
        expect(ids.has(id), id).to.equal(false);
        ids.add(id);
        expect((await namedSet(id)).name).to.equal(name);
      }
      if (set.tasks[0] === 'retrieval') expect(set).to.not.have.any.keys('classes', 'templates');
      else expect(set).to.include.keys('classes', 'templates');
    }
    const error = await failure(namedSet('pet'));
    expect(error).to.include({ code: 'unknown_dataset' });
    expect(error.message).to.include('did you mean pets?');
  });

  it('are found in $KUEA_DATA and counted', () =>
    inFolder((folder) =>
      withEnvironment({ KUEA_DATA: folder }, async () => {
        const open = (options = {}) => openClassified({ dataset: 'wds/vtab/dtd' }, options);
        for (const variant of ['wds_vtab-dtd', 'vtab/dtd', 'dtd']) {
          await mkdir(join(folder, variant), { recursive: true });
          expect(await findNamedSet(await namedSet('dtd'), 'test')).to.equal(join(folder, variant));
          await rm(join(folder, variant), { recursive: true });
        }
        await write(join(folder, 'dtd'), dtd());
        expect((await open()).images.length).to.equal(1880);
        for (const [what, numbers] of [
          [/1880 images in the split test of dtd, found 5/, { images: 5 }],
          [/47 classes of dtd, found 46/, { classes: 46 }],
          [/8 templates of dtd, found 2/, { templates: 2 }],
        ] as const) {
          await write(join(folder, 'dtd'), dtd(numbers));
          const error = await failure(open());
          expect(error).to.include({ code: 'wrong_count' });
          expect(error.message).to.match(what);
          expect(error.message).to.include('--allow-partial');
          expect((await open({ allowPartial: true })).images.length).to.equal('images' in numbers ? 5 : 1880);
        }
        expect(await failure(openRetrieval({ dataset: 'dtd' }))).to.include({ code: 'wrong_task' });
      }),
    ));

  it('may lie anywhere, as folders too, by the other name of their split', () =>
    inFolder(async (folder) => {
      await write(folder, { 'val/n1/a.JPEG': '', 'val/n2/b.JPEG': '', 'test/c.JPEG': '', 'train/n1/d.JPEG': '' });
      const set = await openClassified({ dataset: 'imagenet', path: folder }, { allowPartial: true });
      expect(names(set.images)).to.deep.equal(['n1/a.JPEG', 'n2/b.JPEG']);
      const error = await failure(openClassified({ dataset: 'imagenet', path: folder }));
      expect(error.message).to.include('expected 50000 images');
    }));

  it('for retrieval have their captions counted', () =>
    inFolder(async (folder) => {
      await write(folder, {
        'dataset_type.txt': 'retrieval',
        'test/nshards.txt': '1',
        'test/0.tar': shard(1000, 'txt', (i) => (i === 7 ? 'a' : 'a\nb\nc\nd\ne')),
      });
      const place = { dataset: 'flickr30k', path: folder };
      expect((await failure(openRetrieval(place))).message).to.include('5000 captions in the split test of flickr30k, found 4996');
      expect((await openRetrieval(place, { allowPartial: true })).captions).to.have.length(4996);
      expect(await failure(openClassified(place))).to.include({ code: 'wrong_task' });
    }));

  it('are fetched from the hub, the split that is wanted alone, once', () =>
    inFolder(async (folder) => {
      const hub = await FakeHub.start();
      try {
        await mkdir(join(folder, 'cache'));
        const repository = 'datasets/clip-benchmark/wds_vtab-dtd';
        hub.commit(repository, { ...dtd(), 'train/0.tar': 'much', 'train/nshards.txt': '1', 'README.md': '', 'test/more/x.tar': '' });
        const environment = { KUEA_DATA: undefined, HF_ENDPOINT: hub.url, HF_HUB_CACHE: join(folder, 'cache'), HF_HUB_OFFLINE: undefined };
        await withEnvironment(environment, async () => {
          for (let i = 0; i < 2; i++) expect((await openClassified({ dataset: 'dtd' })).images.length).to.equal(1880);
          const wanted = ['classnames.txt', 'zeroshot_classification_templates.txt', 'test/nshards.txt', 'test/0.tar'];
          expect(hub.downloads()).to.deep.equal(Object.fromEntries(wanted.map((path) => [`${repository}/${path}`, 1])));
          const error = await failure(openClassified({ dataset: 'dtd' }, { split: 'val' }));
          expect(error).to.include({ code: 'split_not_found' });
          expect(error.message).to.include('found test, train, test/more');
        });
        await withEnvironment({ ...environment, HF_HUB_OFFLINE: '1' }, async () => {
          expect((await openClassified({ dataset: 'dtd' })).images.length).to.equal(1880);
        });
      } finally {
        await hub.close();
      }
    }));
});
