import { join } from 'node:path';

import { expect } from 'chai';

import { presetNames, readPreset, readRecipe } from '../../../lib/config/files.js';
import type { KueaError } from '../../../lib/errors.js';
import { resolveLoraConfig } from '../../../lib/lora/options.js';
import { packageRoot } from '../../../lib/package.js';

const needed = { model: 'llava', data: 'llava-665k', out: 'run' };

function refusal(options: Record<string, unknown>): KueaError {
  try {
    resolveLoraConfig(options);
  } catch (error) {
    return error as KueaError;
  }
  throw new Error('it was accepted');
}

describe('the options of kuea-lora', () => {
  it("default to LLaVA's recipe", () => {
    expect(resolveLoraConfig(needed)).to.include({
      dropout: 0.05,
      lr: 2e-4,
      projectorLr: 2e-5,
      beta1: 0.9,
      beta2: 0.999,
      eps: 1e-8,
      weightDecay: 0,
      warmupRatio: 0.03,
      scheduler: 'cosine',
      precision: 'bf16',
      activationCheckpointing: true,
      batchSize: 32,
      microBatch: 1,
      gradAccum: 32,
      maxLength: 2048,
      groupByModalityLength: true,
      maxGradNorm: 0,
      freezeProjector: false,
      lossNormalisation: 'sample',
    });
  });

  it('are refused in one sentence', () => {
    expect(refusal({ ...needed, gradAcum: 4 })).to.include({
      code: 'unknown_option',
      message: 'unknown option gradAcum: did you mean gradAccum?',
    });
    expect(refusal({ data: 'x', out: 'y' }))
      .to.include({ code: 'missing_option' })
      .and.have.property('message')
      .that.matches(/^model is missing: LLaVA-1.5/);
    expect(refusal({ ...needed, steps: 3, epochs: 1 }).message).to.match(/steps or epochs, found both/);
    expect(refusal({ ...needed, dropout: 1 }).message).to.match(/for dropout, found 1$/);
    expect(refusal({ ...needed, offload: true, activationCheckpointing: false }).message).to.match(/activationCheckpointing with offload/);
  });

  it("have the batch over all ranks; 0.1's, a rank's micro-batch, is taken where the batch cannot be cut, with a warning", () => {
    const resolved = (options: Record<string, unknown>, ranks: number) => {
      const warnings: string[] = [];
      const { batchSize, microBatch, gradAccum } = resolveLoraConfig(
        { ...needed, ...options },
        { ranks, warn: (message) => warnings.push(message) },
      );
      return { cut: [batchSize, microBatch, gradAccum], warnings };
    };
    expect(resolved({ batchSize: 128, microBatch: 1 }, 4)).to.deep.equal({ cut: [128, 1, 32], warnings: [] });
    expect(resolved({ microBatch: 2, gradAccum: 4 }, 1)).to.deep.equal({ cut: [8, 2, 4], warnings: [] });
    const recipe = resolved({ batchSize: 128, gradAccum: 32 }, 4);
    expect(recipe.cut).to.deep.equal([128, 1, 32]);
    expect(recipe.warnings.join()).to.match(/^batchSize 128 is the samples of an update .* kuea 0.1 took it for a rank's micro-batch/);
    // 0.1's recipe, as somebody may have copied it.
    for (const ranks of [1, 4]) {
      const old = resolved({ batchSize: 1, gradAccum: 32 }, ranks);
      expect(old.cut).to.deep.equal([32 * ranks, 1, 32]);
      expect(old.warnings.join()).to.match(/^batchSize 1 is taken for microBatch 1, as kuea 0.1 meant it/);
    }
    expect(resolved({ batchSize: 1 }, 4).cut).to.deep.equal([128, 1, 32]);
  });

  it('are the same when they are resolved again', () => {
    const once = resolveLoraConfig({ ...needed, batchSize: 128 }, { ranks: 4 });
    expect(resolveLoraConfig(once, { ranks: 4, warn: (message) => expect.fail(message) })).to.deep.equal(once);
  });

  it('warm up by default as LLaVA does, and a constant rate not, as in 0.1', () => {
    expect(resolveLoraConfig({ ...needed, scheduler: 'constant' })).to.include({ warmupRatio: 0 });
    expect(resolveLoraConfig({ ...needed, scheduler: 'constant', warmupRatio: 0.1 })).to.include({ warmupRatio: 0.1 });
    expect(resolveLoraConfig({ ...needed, warmupSteps: 7 }))
      .to.include({ warmupSteps: 7 })
      .and.not.to.have.property('warmupRatio');
    expect(refusal({ ...needed, warmupSteps: 7, warmupRatio: 0.1 }).message).to.match(/expected warmupSteps or warmupRatio, found both/);
  });

  it('had another name for activation checkpointing', () => {
    const warnings: string[] = [];
    const config = resolveLoraConfig({ ...needed, gradientCheckpointing: false }, { warn: (message) => warnings.push(message) });
    expect(config.activationCheckpointing).to.equal(false);
    expect(warnings.join()).to.match(/^gradientCheckpointing is called activationCheckpointing now/);
  });

  it('have recipes of their own, all of which are valid', async () => {
    const names = presetNames('lora');
    expect(names).to.include.members(['kuea-release-lora', 'llava-1.5-7b-lora']);
    for (const name of names) expect(resolveLoraConfig({ ...needed, ...(await readPreset(name, names)) }).lr).to.be.above(0);
    expect(resolveLoraConfig({ ...needed, ...(await readRecipe(join(packageRoot(), 'configs/demo-lora.yaml'))) })).to.include({
      model: join(packageRoot(), 'configs/demo/llava'),
      microBatch: 8,
      gradAccum: 2,
    });
    const recipe = await readPreset('llava-1.5-7b-lora', names);
    expect(resolveLoraConfig({ ...needed, ...recipe }, { ranks: 4 })).to.include({ batchSize: 128, microBatch: 1, gradAccum: 32 });
    expect(resolveLoraConfig({ ...needed, ...recipe }, { ranks: 1 })).to.include({ batchSize: 128, microBatch: 1, gradAccum: 128 });
    expect(presetNames('align').filter((name) => names.includes(name))).to.deep.equal([]);
  });
});
