import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { buildHeader, readSafetensors } from '../../lib/files/safetensors.js';
import { type AlignLine, type AlignOptions, type AlignValidation, align } from '../../lib/index.js';
import { common, golden } from './traces.js';

describe('the validation loss of an alignment', () => {
  let work: string;
  let runs = 0;
  /** The images of the golden's first update. */
  let firstBatch: string;

  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-validation-'));
    firstBatch = join(work, 'first.safetensors');
    const { tensors } = await readSafetensors(common.data);
    const { offset, shape } = tensors.get('pixels')!;
    const bytes = golden.batch * 3 * shape[2]! ** 2;
    const header = buildHeader([{ name: 'pixels', dtype: 'U8', shape: [golden.batch, ...shape.slice(1)] }]);
    writeFileSync(firstBatch, Buffer.concat([header, readFileSync(common.data).subarray(offset, offset + bytes)]));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  async function run(options: Partial<AlignOptions>): Promise<{ lines: AlignLine[]; validations: AlignValidation[]; images: number }> {
    const [lines, validations]: [AlignLine[], AlignValidation[]] = [[], []];
    let images = 0;
    for await (const event of align({ ...common, out: join(work, `run-${runs++}`), saveEvery: 1, ...options })) {
      if (event.type === 'start') images = event.plan.images;
      if (event.type === 'step') lines.push(event);
      if (event.type === 'validation') validations.push(event as AlignValidation & typeof event);
    }
    return { lines, validations, images };
  }
  const published = golden.runs[0]!;

  it('is the loss of eager PyTorch in float64, before the first update', async () => {
    for (const more of [{}, { microBatch: 4 }, { cache: 'off' }]) {
      const { validations } = await run({ ...published.options, ...more, valData: firstBatch, steps: 1 });
      const { loss, kernel_loss: kernel } = published.trace[0]!;
      expect(validations[0]!.val_loss).to.be.closeTo(loss, 1e-3 * loss);
      expect(validations[0]!.val_kernel_loss).to.be.closeTo(kernel, 1e-3 * kernel);
      expect(validations[0]).to.include({ step: 0, val_anchor_loss: 0, val_samples: golden.batch });
    }
  });

  it('of the images in training is what the next update finds, to the bit', async () => {
    const { lines, validations } = await run({ ...golden.runs[1]!.options, data: firstBatch, valData: firstBatch, steps: 4 });
    expect(validations.map(({ step }) => step)).to.deep.equal([0, 1, 2, 3, 4]);
    lines.forEach(({ loss, kernel_loss, anchor_loss }, i) =>
      expect(validations[i]).to.include({ val_loss: loss, val_kernel_loss: kernel_loss, val_anchor_loss: anchor_loss }),
    );
  });

  it('of held-out images changes nothing that is trained, and none of them is trained on', async () => {
    const { images, validations } = await run({ ...published.options, valFraction: 1 / 3 });
    expect(images).to.equal(24);
    expect(validations.map(({ val_samples }) => val_samples)).to.deep.equal(Array.from({ length: 7 }, () => 12));
    const [withThem, without] = [await run({ ...published.options, valData: firstBatch }), await run({ ...published.options })];
    expect(withThem.lines.map(({ loss }) => loss)).to.deep.equal(without.lines.map(({ loss }) => loss));
  });

  it('needs one set of images', async () => {
    const both = await run({ valFraction: 0.5, valData: firstBatch }).catch((error: unknown) => error);
    expect(both).to.have.property('message').that.includes('expected valFraction or valData, found both');
  });
});
