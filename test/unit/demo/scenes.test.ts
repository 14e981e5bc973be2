import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import sharp from 'sharp';
import type { SceneRecord } from '../../../lib/demo/scenes.js';
import {
  COLOURS,
  caption,
  describe as describeScene,
  drawScene,
  placeOf,
  plural,
  renderScene,
  SHAPES,
  writeScenes,
} from '../../../lib/demo/scenes.js';
import { KueaError } from '../../../lib/errors.js';

const scenes = Array.from({ length: 300 }, (_, index) => drawScene(7, index));
const digest = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

describe('scenes', () => {
  it('are the same on every machine: descriptions and captions, by hash', () => {
    expect(digest(scenes)).to.equal('ab7b7c836771f1ba');
    expect(digest(scenes.map(caption))).to.equal('effd14fabb6732e2');
  });

  it('depend on both the seed and the index', () => {
    expect(drawScene(7, 3)).to.deep.equal(scenes[3]);
    expect(new Set(scenes.map((scene) => digest(scene.objects))).size).to.equal(scenes.length);
    expect(drawScene(8, 3).objects).not.to.deep.equal(scenes[3]?.objects);
  });

  it('keep every object in the frame and apart from the others', () => {
    for (const { objects } of scenes) {
      for (const [i, a] of objects.entries()) {
        for (const centre of [a.x, a.y]) expect(centre).to.be.within(a.size / 2, 1 - a.size / 2);
        for (const b of objects.slice(i + 1)) {
          expect(Math.max(Math.abs(a.x - b.x), Math.abs(a.y - b.y)), `${JSON.stringify(a)} ${JSON.stringify(b)}`).to.be.at.least(
            (a.size + b.size) / 2,
          );
        }
      }
    }
  });

  it('have the facts that describe states', () => {
    for (const scene of scenes) {
      const facts = describeScene(scene);
      expect(facts.length).to.be.within(1, 2);
      expect(facts.reduce((sum, kind) => sum + kind.count, 0)).to.equal(scene.objects.length);
      for (const { shape, colour, count, places } of facts) {
        const drawn = scene.objects.filter((object) => object.shape === shape && object.colour === colour);
        expect(drawn.length).to.equal(count).and.to.be.within(1, 4);
        expect(places).to.deep.equal(drawn.map(placeOf));
      }
    }
    expect(
      [
        [0.1, 0.1],
        [0.5, 0.5],
        [0.9, 0.5],
        [0.4, 0.9],
      ].map(([x = 0, y = 0]) => placeOf({ x, y })),
    ).to.deep.equal(['top left', 'centre', 'right', 'bottom']);
  });

  it('show as many patches of a colour as describe states', async () => {
    const size = 256;
    for (const scene of scenes.slice(0, 20)) {
      const pixels = await sharp(await renderScene(scene, size, 'png'))
        .raw()
        .toBuffer();
      const hex = (i: number) => `#${pixels.subarray(3 * i, 3 * i + 3).toString('hex')}`;
      for (const colour of new Set(scene.objects.map((object) => object.colour))) {
        const left = new Set(Array.from({ length: size * size }, (_, i) => i).filter((i) => hex(i) === COLOURS[colour]));
        let patches = 0;
        for (const first of left) {
          let area = 0;
          for (const queue = [first]; queue.length > 0; ) {
            const i = queue.pop() as number;
            if (!left.delete(i)) continue;
            area += 1;
            queue.push(i - 1, i + 1, i - size, i + size);
          }
          // The last pixel of a star's tip may stand alone.
          if (area > 20) patches += 1;
        }
        const stated = describeScene(scene)
          .filter((kind) => kind.colour === colour)
          .reduce((sum, kind) => sum + kind.count, 0);
        expect(patches, JSON.stringify(scene)).to.equal(stated);
      }
    }
  });

  it('have captions that are true and coarse', () => {
    for (const scene of scenes) {
      const text = caption(scene);
      const words = new Set(text.split(' '));
      expect(text).not.to.match(/\d|\b(one|two|three|four|left|right|top|bottom|centre)\b/);
      for (const colour of Object.keys(COLOURS))
        if (words.has(colour))
          expect(
            scene.objects.map((object) => object.colour),
            text,
          ).to.include(colour);
      for (const shape of SHAPES) {
        const drawn = scene.objects.filter((object) => object.shape === shape).length;
        if (words.has(shape)) expect(drawn, text).to.be.at.least(1);
        if (words.has(plural(shape))) expect(drawn, text).to.be.at.least(2);
      }
    }
    expect(scenes.slice(0, 3).map(caption)).to.deep.equal([
      'blue stars',
      'a drawing of a purple triangle',
      'a picture of green crosses and a yellow cross',
    ]);
  });

  for (const format of ['png', 'jpeg'] as const) {
    it(`render as ${format} with each object's colour at its centre`, async () => {
      const size = 64;
      for (const scene of scenes.slice(0, 20)) {
        const { data, info } = await sharp(await renderScene(scene, size, format))
          .raw()
          .toBuffer({ resolveWithObject: true });
        expect([info.width, info.height, info.channels]).to.deep.equal([size, size, 3]);
        for (const object of scene.objects) {
          const at = (Math.floor(object.y * size) * size + Math.floor(object.x * size)) * 3;
          const expected = [1, 3, 5].map((i) => parseInt(COLOURS[object.colour].slice(i, i + 2), 16));
          for (const [channel, value] of expected.entries()) {
            expect(data[at + channel], JSON.stringify(object)).to.be.closeTo(value, format === 'png' ? 0 : 40);
          }
        }
      }
    });
  }

  describe('writeScenes', () => {
    let dir: string;
    beforeEach(async () => {
      dir = await mkdtemp(join(tmpdir(), 'kuea-scenes-'));
    });
    afterEach(() => rm(dir, { recursive: true }));

    it('writes a flat folder, its metadata last', async () => {
      const records = await writeScenes(dir, 12, 5, 32, { concurrency: 3 });
      expect((await readdir(dir)).sort()).to.deep.equal(['metadata.jsonl', ...records.map((record) => record.file_name)]);
      const lines = (await readFile(join(dir, 'metadata.jsonl'), 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as SceneRecord);
      expect(lines).to.deep.equal(records);
      for (const [index, { text, scene, file_name }] of lines.entries()) {
        expect(scene).to.deep.equal(drawScene(5, index));
        expect(text).to.equal(caption(scene));
        expect(await readFile(join(dir, file_name))).to.deep.equal(await renderScene(scene, 32));
      }
    });

    it('writes a tree with one folder a class', async () => {
      const records = await writeScenes(dir, 12, 5, 32, { layout: 'tree' });
      for (const { file_name, scene } of records)
        expect(file_name).to.match(new RegExp(`^${scene.objects[0]?.shape}/scene-0000\\d\\d\\.jpg$`));
      expect((await readdir(dir, { recursive: true })).filter((name) => name.endsWith('.jpg')).sort()).to.deep.equal(
        records.map((record) => record.file_name).sort(),
      );
    });

    it('refuses a count or a size that is no whole number of at least 1', async () => {
      for (const [count, size, name] of [
        [0, 32, 'count'],
        [1.5, 32, 'count'],
        [4, 0, 'size'],
      ] as const) {
        const error = await writeScenes(dir, count, 5, size).catch((e: unknown) => e);
        expect(error).to.be.instanceOf(KueaError);
        expect(error).to.include({ code: 'bad_argument' });
        expect((error as Error).message).to.include(`expected ${name}`);
      }
    });
  });
});
