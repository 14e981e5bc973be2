import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { readSafetensors } from '../../lib/files/safetensors.js';
import type { LoraLine } from '../../lib/lora/events.js';
import { finetune } from '../../lib/lora/finetune.js';
import type { LoraOptions } from '../../lib/lora/options.js';
import { packageRoot } from '../../lib/package.js';

const golden = join(packageRoot(), 'test/golden/lora-trace');

interface Golden {
  batch: number;
  accum: number;
  steps: number;
  runs: { name: string; file: string; options: Partial<LoraOptions>; trace: { loss: number; grad_norm: number; lr: number }[] }[];
}

/** The numbers of every tensor of a file, under names without the prefixes of each library. */
async function numbers(file: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await readSafetensors(file);
  const bytes = readFileSync(file);
  return new Map(
    Array.from(tensors, ([name, { offset, shape }]) => {
      const count = shape.reduce((product, side) => product * side, 1);
      const plain = name
        .replace('multi_modal_projector.linear_1', 'mm_projector.0')
        .replace('multi_modal_projector.linear_2', 'mm_projector.2')
        .replace(/^(base_model\.model\.)+(model\.)?/, '');
      return [plain, new Float32Array(bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + 4 * count))];
    }),
  );
}

const distance = (a: Float32Array, b: Float32Array) => Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0));

describe('a fine-tuning run', () => {
  const { batch, accum, steps, runs } = JSON.parse(readFileSync(join(golden, 'traces.json'), 'utf8')) as Golden;
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-lora-trace-'));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  const base = (name: string): LoraOptions => ({
    model: join(golden, 'model'),
    adapter: join(golden, 'adapter0'),
    data: join(golden, 'batches.safetensors'),
    out: join(work, name),
    dropout: 0,
    shuffle: false,
    precision: 'fp32',
    microBatch: batch,
    gradAccum: accum,
    steps,
    maxLength: 20,
  });

  async function trace(name: string, options: Partial<LoraOptions>): Promise<LoraLine[]> {
    const lines: LoraLine[] = [];
    const run = finetune({ ...base(name), ...options });
    for await (const event of run) if (event.type === 'step') lines.push(event);
    await run.result;
    return lines;
  }

  /** fp32 against float64: the tolerance is for sums of some hundred products, over six updates of which each builds on the one before. */
  function agree(lines: LoraLine[], expected: Golden['runs'][number]): void {
    expect(lines).to.have.length(steps);
    lines.forEach((line, i) => {
      const { loss, grad_norm, lr } = expected.trace[i]!;
      expect(line.loss, `loss of update ${i + 1}`).to.be.closeTo(loss, 1e-5 * loss);
      expect(line.grad_norm, `gradient of update ${i + 1}`).to.be.closeTo(grad_norm, 1e-4 * grad_norm);
      expect(line.lr, `rate of update ${i + 1}`).to.be.closeTo(lr, 1e-12);
    });
  }

  for (const expected of runs) {
    it(`${expected.name}: has the losses and gradients of transformers and peft in float64, and trains the same weights`, async () => {
      agree(await trace(expected.name, expected.options), expected);
      const theirs = await numbers(join(golden, expected.file));
      const start = new Map([
        ...(await numbers(join(golden, 'adapter0/adapter_model.safetensors'))),
        ...(await numbers(join(golden, 'model/model.safetensors'))),
      ]);
      const ours = new Map([
        ...(await numbers(join(work, expected.name, 'export/adapter_model.safetensors'))),
        ...(await numbers(join(work, expected.name, 'export/non_lora_trainables.safetensors'))),
      ]);
      expect([...ours.keys()].sort()).to.deep.equal([...theirs.keys()].sort());
      for (const [name, value] of ours) {
        const other = theirs.get(name)!;
        // AdamW divides a gradient by its own size: of one as small as fp32's rounding, the update is of any size.
        expect(distance(value, other), name).to.be.at.most(5e-3 * distance(other, start.get(name)!));
      }
    });
  }

  it('has them packed, one sample at a time, without checkpointing', async () => {
    const [bySamples] = runs;
    agree(await trace('packed', { ...bySamples!.options, pack: true, maxLength: 50 }), bySamples!);
    agree(await trace('one', { ...bySamples!.options, microBatch: 1, gradAccum: batch * accum }), bySamples!);
    agree(await trace('kept', { ...bySamples!.options, activationCheckpointing: false }), bySamples!);
  });

  it('takes an option under its former name, and says so by an event', async () => {
    const warnings: string[] = [];
    const run = finetune({ ...base('former'), dryRun: true, gradientCheckpointing: false });
    for await (const event of run) {
      if (event.type === 'warning') warnings.push(event.message);
      if (event.type === 'start') expect(event.plan.config.activationCheckpointing).to.equal(false);
    }
    expect(warnings).to.deep.equal([
      'gradientCheckpointing is called activationCheckpointing now; the old name goes with the next version',
    ]);
  });

  it('stays near them in bf16, with a base in bf16, fp16 or NF4', async () => {
    const [bySamples] = runs;
    for (const [options, tolerance] of [
      [{ precision: 'bf16' }, 0.02],
      [{ precision: 'bf16', basePrecision: 'fp16' }, 0.02],
      [{ basePrecision: 'nf4' }, 0.1],
    ] as const) {
      const lines = await trace(`near-${JSON.stringify(options)}`, { ...bySamples!.options, ...options });
      lines.forEach((line, i) =>
        expect(line.loss, `${JSON.stringify(options)}, update ${i + 1}`).to.be.closeTo(
          bySamples!.trace[i]!.loss,
          tolerance * bySamples!.trace[i]!.loss,
        ),
      );
    }
  });

  it('leaves nothing of a run that is stopped before it begins', async () => {
    const run = finetune(
      {
        model: join(golden, 'model'),
        data: join(golden, 'batches.safetensors'),
        out: join(work, 'stopped'),
        maxLength: 20,
        valFraction: 0.5,
      },
      { signal: AbortSignal.abort() },
    );
    expect(await run.result).to.deep.include({ steps: 0, interrupted: true });
    expect(existsSync(join(work, 'stopped', 'checkpoints'))).to.equal(false);
  });

  it('is the base exactly before its first update, with a new adapter: B is 0', async () => {
    const loss = async (name: string, options: Partial<LoraOptions>) => {
      const run = finetune({
        model: join(golden, 'model'),
        data: join(golden, 'batches.safetensors'),
        out: join(work, name),
        rank: 4,
        alpha: 8,
        precision: 'fp32',
        valFraction: 0.5,
        steps: 1,
        maxLength: 20,
        ...options,
      });
      for await (const event of run) if (event.type === 'validation') return event.val_loss;
      throw new Error('no validation');
    };
    expect(await loss('new-1', { rank: 4, seed: 1 })).to.equal(await loss('new-2', { rank: 8, alpha: 64, seed: 1 }));
  });
});
