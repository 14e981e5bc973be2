import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { root } from './support.js';

const run = (program: string, ...args: string[]) =>
  spawnSync(process.execPath, [join(root, `dist/lib/cli/${program}.cjs`), ...args], { encoding: 'utf8', timeout: 50_000 });

describe('kuea-lora chat and merge', () => {
  const model = ['--model', join(root, 'configs/demo/llava')];

  it('name an image that is not there', () => {
    const { status, stderr } = run('kuea-lora', 'chat', ...model, '--image', 'nope.jpg', 'What is this?');
    expect(stderr).to.equal('kuea-lora: expected an image at nope.jpg, found no file there\n');
    expect(status).to.equal(1);
  });

  it('want a question', () => {
    const { status, stderr } = run('kuea-lora', 'chat', ...model, ' ');
    expect(stderr).to.equal('kuea-lora: expected a question, found none (see --help)\n');
    expect(status).to.equal(2);
  });

  it('take a device, and the activation that a tower does not tell', () => {
    const { status, stderr } = run('kuea-lora', 'chat', ...model, '--device', 'cuda:99', 'What?');
    expect(stderr).to.match(/^kuea-lora: expected a GPU for device cuda:99, found /);
    expect(status).to.equal(1);
    // The demo's tower says that it has the other one.
    expect(run('kuea-lora', 'chat', ...model, '--activation', 'gelu', 'What?').stderr).to.match(
      /its activation is quick_gelu, but gelu was asked for/,
    );
    expect(run('kuea-lora', 'merge', ...model, '--adapter', 'nowhere', '--to', 'hf', '--out', 'x', '--activation', 'tanh').stderr).to.match(
      /'tanh' is invalid. Allowed choices are quick_gelu, gelu/,
    );
  });
});

describe('kuea doctor', () => {
  it('wants the Node that package.json wants', () => {
    const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { engines: { node: string } };
    const [wanted] = /\d+/.exec(engines.node)!;
    expect(run('kuea', 'doctor').stdout).to.match(new RegExp(`^node +${process.versions.node} +${wanted}\\.\\d+ or newer`, 'm'));
  });
});

describe('a run under former names', () => {
  it('warns on stderr in the words that were typed, and plans what was meant', () => {
    const { status, stdout, stderr } = run(
      'kuea-lora',
      ...['--model', join(root, 'test/golden/lora-trace/model'), '--data', join(root, 'test/golden/lora-trace/batches.safetensors')],
      ...['--out', 'nowhere', '--batch-size', '1', '--grad-accum', '2', '--no-gradient-checkpointing', '--dry-run'],
    );
    expect(status, stderr).to.equal(0);
    expect(stdout).to.match(/^batch +2 = 1 samples x 2 micro-batches x 1 rank/m);
    expect(stdout).not.to.include('activation checkpointing');
    expect(stderr.trim().split('\n')).to.deep.equal([
      'warning: --gradient-checkpointing is called --activation-checkpointing now; the old name goes with the next version',
      'warning: --batch-size 1 is taken for --micro-batch 1, as kuea 0.1 meant it, since 2 micro-batches cannot share 1 sample: call it ' +
        '--micro-batch',
    ]);
  });
});
