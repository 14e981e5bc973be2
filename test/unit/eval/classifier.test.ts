import { join } from 'node:path';

import { expect } from 'chai';

import { type Encoder, openEncoder, zeroShotClassifier } from '../../../lib/index.js';
import { packageRoot } from '../../../lib/package.js';
import { failure } from '../data/images/support.js';

const scenes = Array.from({ length: 4 }, (_, i) => join(packageRoot(), `test/golden/demo/scene-00000${i}.jpg`));
const classes = ['red circle', 'green square', 'blue triangle', 'yellow star', 'gray circle', 'white square'];
const templates = ['a photo of a {c}.', 'the {}'];

describe('zeroShotClassifier', () => {
  let encoder: Encoder;
  before(async () => (encoder = await openEncoder(join(packageRoot(), 'configs/demo/clip'))));
  after(() => encoder.close());

  /** Rows of embeddings, each over its norm, in float64. */
  const unit = (data: Float32Array) =>
    Array.from({ length: data.length / encoder.dim }, (_, i) => scaled([...data.subarray(i * encoder.dim, (i + 1) * encoder.dim)]));
  const scaled = (row: number[]) => row.map((x) => x / Math.hypot(...row));
  const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

  it('gives the cosines with the mean of the normalised prompts, and the softmax of them by the logit scale', async () => {
    const prompts = unit(await encoder.encodeTexts(classes.flatMap((name) => [`a photo of a ${name}.`, `the ${name}`])));
    const rows = classes.map((_, c) => scaled(prompts[2 * c]!.map((x, d) => x + prompts[2 * c + 1]![d]!)));
    const images = unit(await encoder.encodeImages(scenes));
    const classifier = await zeroShotClassifier(encoder, classes, templates);
    const found = await classifier.classify(scenes, 3);
    expect(found).to.have.length(4);
    images.forEach((image, i) => {
      const cosines = rows.map((row) => dot(image, row));
      const powers = cosines.map((cosine) => Math.exp(encoder.logitScale! * cosine));
      const sum = powers.reduce((a, b) => a + b);
      const order = [...cosines.keys()].sort((a, b) => cosines[b]! - cosines[a]!);
      expect(found[i]!.map(({ index }) => index)).to.deep.equal(order.slice(0, 3));
      for (const { class: name, index, cosine, probability } of found[i]!) {
        expect(name).to.equal(classes[index]);
        expect(cosine).to.be.closeTo(cosines[index]!, 1e-5);
        expect(probability).to.be.closeTo(powers[index]! / sum, 1e-4);
      }
    });
    const everything = await classifier.classify(scenes.slice(0, 1), 100);
    expect(everything[0]).to.have.length(classes.length);
    expect(everything[0]!.reduce((sum, { probability }) => sum + probability, 0)).to.be.closeTo(1, 1e-12);
    expect(await classifier.classify([])).to.deep.equal([]);
  });

  it('wants classes, sentences with a place for them, and a count', async () => {
    expect((await failure(zeroShotClassifier(encoder, []))).message).to.include('found 0 classes and 1 templates');
    expect((await failure(zeroShotClassifier(encoder, classes, ['a photo']))).message).to.include('"a photo" without it');
    expect((await failure(zeroShotClassifier(encoder, [1] as unknown as string[]))).message).to.include('expected a string for text 0');
    const classifier = await zeroShotClassifier(encoder, classes);
    expect((await failure(classifier.classify(scenes, 0))).message).to.include('for k, found 0');
  });
});
