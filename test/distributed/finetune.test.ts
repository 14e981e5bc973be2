import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { readSafetensors } from '../../lib/files/safetensors.js';
import type { LoraLine } from '../../lib/lora/events.js';
import { packageRoot } from '../../lib/package.js';

const golden = join(packageRoot(), 'test/golden/lora-trace');
const program = join(packageRoot(), 'dist/lib/cli/kuea-lora.cjs');

async function adapterOf(out: string): Promise<Map<string, Float32Array>> {
  const file = join(out, 'export/adapter_model.safetensors');
  const bytes = readFileSync(file);
  const { tensors } = await readSafetensors(file);
  return new Map(
    Array.from(tensors, ([name, { offset, shape }]) => [
      name,
      new Float32Array(bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + 4 * shape[0]! * shape[1]!)),
    ]),
  );
}

const linesOf = (out: string) =>
  readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LoraLine);

describe('fine-tuning on several ranks', () => {
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-lora-ranks-'));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  /** Six samples an update, however many ranks share them, if `accum` does not say otherwise. */
  async function start(
    name: string,
    ranks: number,
    accum: number,
    options: string[],
  ): Promise<{ out: string; code: unknown; stderr: string }> {
    const out = join(work, name);
    const inputs = [
      '--model',
      join(golden, 'model'),
      '--adapter',
      join(golden, 'adapter0'),
      '--data',
      join(golden, 'batches.safetensors'),
      '--out',
      out,
    ];
    const recipe = [
      '--precision',
      'fp32',
      '--no-shuffle',
      '--dropout',
      '0.1',
      '--weight-decay',
      '0.1',
      '--max-grad-norm',
      '0.5',
      '--max-length',
      '20',
      '--steps',
      '4',
      '--log-every',
      '1',
      '--save-every',
      '2',
    ];
    const shares = ['--micro-batch', '1', '--grad-accum', `${accum}`, ...(ranks > 1 ? ['--nproc', `${ranks}`] : [])];
    const child = spawn(process.execPath, [program, ...inputs, ...recipe, ...shares, ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const code = await new Promise((resolve) => child.on('close', resolve));
    return { out, code, stderr };
  }

  /** Resolves to the run's folder. */
  async function run(name: string, ranks: number, ...options: string[]): Promise<string> {
    const { out, code, stderr } = await start(name, ranks, 6 / ranks, options);
    expect(code, stderr).to.equal(0);
    return out;
  }

  const norm = (numbers: Float32Array) => Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0));
  async function near(out: string, expected: Map<string, Float32Array>): Promise<void> {
    for (const [name, value] of await adapterOf(out)) {
      const other = expected.get(name)!;
      expect(norm(value.map((x, i) => x - other[i]!)), name).to.be.at.most(1e-5 * norm(other));
    }
  }

  it('2 and 3 ranks train what one process trains: adapter, projector, dropout, decay, clipping', async () => {
    const alone = await run('alone', 1);
    const expected = await adapterOf(alone);
    for (const ranks of [2, 3]) {
      const out = await run(`ranks-${ranks}`, ranks);
      linesOf(out).forEach((line, i) => {
        const { loss, labels, tokens } = linesOf(alone)[i]!;
        expect(line.loss).to.be.closeTo(loss, 1e-5 * loss);
        expect([line.labels, line.tokens]).to.deep.equal([labels, tokens]);
      });
      await near(out, expected);
    }
  });

  it('resumes on two ranks to the same bits, and on other ranks to the same numbers, but not with another batch', async () => {
    const whole = await run('whole', 2, '--keep-checkpoints', '9');
    const first = readFileSync(join(whole, 'export/adapter_model.safetensors'));
    const expected = await adapterOf(whole);
    const halfway = () => ['checkpoints/step-000004', 'export'].forEach((name) => rmSync(join(whole, name), { recursive: true }));

    halfway();
    await run('whole', 2, '--resume');
    expect(readFileSync(join(whole, 'export/adapter_model.safetensors')).equals(first)).to.equal(true);
    halfway();
    await run('whole', 3, '--resume');
    await near(whole, expected);
    halfway();
    await run('whole', 1, '--resume');
    await near(whole, expected);
    const other = await start('whole', 2, 6, ['--resume']);
    expect(other.code).to.equal(1);
    expect(other.stderr).to.match(/expected 6 samples an update, as the run in .* was started with, found 12/);
  });
});
