import { expect } from 'chai';
import { z } from 'zod';

import { kebabCase } from '../../../lib/config/keys.js';
import { option, parseOptions } from '../../../lib/config/options.js';
import type { KueaError } from '../../../lib/errors.js';

const schema = z.strictObject({
  batchSize: option('Run', 'samples of an update', z.int().positive().default(8)),
  part: option('Run', 'a part', z.number().gt(0).max(1).optional()),
  kind: option('Run', 'a kind', z.enum(['near', 'far']).optional()),
  kinds: option(
    'Run',
    'kinds',
    z
      .array(z.enum(['near', 'far']))
      .min(1)
      .optional(),
  ),
  path: option('Run', 'a path', z.string().min(1).optional()),
  checkpointing: option('Run', 'compute twice', z.boolean().default(true), { formerly: ['gradientThing', 'thing'] }),
  needed: option('Run', 'what is needed', z.string()),
});
const flag = (key: string) => `--${kebabCase(key)}`;

function refusal(options: Record<string, unknown>, name?: (key: string) => string): KueaError {
  try {
    parseOptions(schema, { needed: 'x', ...options }, name ? { name } : {});
  } catch (error) {
    return error as KueaError;
  }
  throw new Error('it was accepted');
}

describe('options', () => {
  it('that are wrong are told in a sentence, in whose words they were given', () => {
    const cases: [options: Record<string, unknown>, message: string][] = [
      [{ batchSize: 0 }, 'expected a number above 0 for --batch-size, found 0'],
      [{ batchSize: 1.5 }, 'expected a whole number for --batch-size, found 1.5'],
      [{ batchSize: 'many' }, 'expected a number for --batch-size, found "many"'],
      [{ batchSize: Number.NaN }, 'expected a number for --batch-size, found NaN'],
      [{ part: 2 }, 'expected a number of at most 1 for --part, found 2'],
      [{ kind: 'middle' }, 'expected one of near, far for --kind, found "middle"'],
      [{ kinds: ['middle'] }, 'expected one of near, far for --kinds, found ["middle"]'],
      [{ kinds: [] }, 'expected at least one of a list for --kinds, found []'],
      [{ path: '' }, 'expected some text for --path, found ""'],
      [{ checkpointing: 'yes' }, 'expected true or false for --checkpointing, found "yes"'],
      [{ bachSize: 3 }, 'unknown option --bach-size: did you mean --batch-size?'],
      [{ needed: undefined }, '--needed is missing: what is needed'],
    ];
    for (const [options, message] of cases) expect(refusal(options, flag).message).to.equal(message);
    expect(refusal({ batchSize: 0 }).message).to.equal('expected a number above 0 for batchSize, found 0');
  });

  it('with foreign names are told on one line, and not all of a long name', () => {
    const { message } = refusal({ [`bachSize\r\n${'x'.repeat(9000)}`]: 3 });
    expect(message).to.match(/^unknown option [^\r\n]+: did you mean /);
    expect(message.length).to.be.lessThan(300);
  });

  it('that hold themselves, as a YAML anchor can, are told without end', () => {
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    expect(refusal({ batchSize: cyclic })).to.have.property('code', 'bad_option');
  });

  it('have their former names for one version, with a warning', () => {
    const warnings: string[] = [];
    const parsed = parseOptions(schema, { needed: 'x', gradientThing: false }, { name: flag, warn: (message) => warnings.push(message) });
    expect(parsed.checkpointing).to.equal(false);
    expect(parsed).not.to.have.property('gradientThing');
    expect(warnings).to.deep.equal(['--gradient-thing is called --checkpointing now; the old name goes with the next version']);
    expect(refusal({ thing: true, checkpointing: true }).message).to.match(
      /expected checkpointing alone, found its former name thing with it/,
    );
  });
});
