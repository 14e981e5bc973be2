import { expect } from 'chai';

import { presetNames, readPreset } from '../../../lib/config/files.js';
import type { KueaError } from '../../../lib/errors.js';
import { resolveLoraConfig } from '../../../lib/lora/options.js';

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
      gradientCheckpointing: true,
      batchSize: 1,
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
    expect(refusal({ ...needed, offload: true, gradientCheckpointing: false }).message).to.match(/gradientCheckpointing with offload/);
  });

  it('have recipes of their own, all of which are valid', async () => {
    const names = presetNames('lora');
    expect(names).to.deep.equal(['demo-lora', 'kuea-release-lora', 'llava-1.5-7b-lora']);
    for (const name of names) expect(resolveLoraConfig({ ...needed, ...(await readPreset(name, names)) }).lr).to.be.above(0);
    expect(presetNames('align').filter((name) => names.includes(name))).to.deep.equal([]);
  });
});
