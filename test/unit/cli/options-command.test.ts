import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import type { Command } from 'commander';

import { alignSchema } from '../../../lib/align/options.js';
import { alignCommand } from '../../../lib/cli/align-command.js';
import { loraCommand } from '../../../lib/cli/lora-command.js';
import { type Asked, optionsCommand } from '../../../lib/cli/options-command.js';
import { presetNames } from '../../../lib/config/files.js';
import { kebabCase } from '../../../lib/config/keys.js';
import { loraSchema } from '../../../lib/lora/options.js';

/** What a command prints until it would end the process. */
function printed(command: Command, ...words: string[]): string {
  let text = '';
  command.exitOverride().configureOutput({ writeOut: (part) => (text += part), writeErr: (part) => (text += part) });
  try {
    command.parse(words, { from: 'user' });
  } catch {}
  return text;
}

describe('the help', () => {
  for (const [make, shape] of [
    [() => alignCommand('kuea-align'), alignSchema.shape],
    [() => loraCommand('kuea-lora'), loraSchema.shape],
  ] as const) {
    const { name } = { name: make().name() };
    it(`of ${name} has the everyday options on two screens of 80 columns`, () => {
      const lines = printed(make(), '--help').trimEnd().split('\n');
      expect(lines.length).to.be.at.most(48);
      for (const line of lines) expect(line.length, line).to.be.at.most(80);
      const text = lines.join('\n');
      for (const flag of ['--data', '--out', '--batch-size', '--micro-batch', '--resume', '--help-all']) expect(text).to.include(flag);
      expect(text).not.to.include('--beta1');
    });

    it(`of ${name} has all of them on request, the former names of none`, () => {
      const text = printed(make(), '--help-all');
      for (const key of Object.keys(shape)) expect(text).to.match(new RegExp(`--(no-)?${kebabCase(key)}\\b`));
      expect(text).not.to.include('gradient-checkpointing');
      expect(text).to.match(/Optimisation:\n/);
    });
  }
});

describe('the command line', () => {
  let folder: string;
  before(() => (folder = mkdtempSync(join(tmpdir(), 'kuea-command-'))));
  after(() => rmSync(folder, { recursive: true, force: true }));

  async function asked(...words: string[]): Promise<Asked> {
    let found: Asked | undefined;
    const command = optionsCommand({
      name: 'kuea-lora',
      description: '',
      examples: { everyday: '', all: '' },
      shape: loraSchema.shape,
      presets: presetNames('lora'),
      run: async (given) => {
        found = given;
      },
    });
    await command.exitOverride().parseAsync(words, { from: 'user' });
    return found!;
  }

  it('outweighs a recipe, --set too, also in what it says another way', async () => {
    const file = join(folder, 'mine.yaml');
    writeFileSync(file, 'epochs: 2\nwarmup_ratio: 0.1\nlr: 1\nmodel: ./llava\n');
    const { options } = await asked('--config', file, '--set', 'steps=10', 'lr=2', '--warmup-steps', '3', '--lr', '4');
    expect(options).to.deep.equal({ steps: 10, warmupSteps: 3, lr: 4, model: join(folder, 'llava') });
    expect((await asked('--preset', 'llava-1.5-7b-lora', '--set', 'steps=10')).options)
      .to.include({ steps: 10 })
      .and.not.have.property('epochs');
  });

  it('takes former names, in a recipe and as flags, and warns in the words that were typed', async () => {
    const file = join(folder, 'old.yaml');
    writeFileSync(file, 'gradient_checkpointing: true\n');
    const { options, warnings } = await asked('--config', file, '--no-gradient-checkpointing');
    expect(options).to.deep.equal({ activationCheckpointing: false });
    expect(warnings[1]).to.match(/^--gradient-checkpointing is called --activation-checkpointing now/);
  });

  it('refuses what it does not know, naming the nearest', async () => {
    const message = await asked('--bach-size', '3').then(
      () => '',
      (error: Error) => error.message,
    );
    expect(message).to.equal('unknown option --bach-size: did you mean --batch-size?');
  });
});
