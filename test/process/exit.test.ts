import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { packageRoot } from '../../lib/package.js';

const programs = join(packageRoot(), 'dist/test/process');

/** Many more of each: scripts/fuzz/exits.mjs. */
describe('ending while native work runs', function () {
  this.timeout(120_000);
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-exit-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  /** Exit code, or the signal that ended it; and what it said. */
  const run = (...args: string[]) =>
    new Promise<{ ended: number | NodeJS.Signals; said: string }>((resolve) => {
      const child = spawn(process.execPath, args, { cwd: programs, stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
      child.on('close', (code, signal) => resolve({ ended: code ?? signal!, said }));
    });

  const end = (what: string, how: string, after: number) => run('exiting.js', what, how, String(after), mkdtempSync(join(work, 'case-')));

  const codes = { exit: 7, throw: 1, reject: 1, signals: 130 };
  for (const what of ['align', 'lora', 'encode', 'open']) {
    it(`keeps the exit code: ${what}`, async () => {
      for (const [i, [how, code]] of Object.entries(codes).entries()) {
        const { ended, said } = await end(what, how, 5 + 11 * i);
        expect(said, how).to.match(/^busy\n/);
        expect(ended, `${how}: ${said}`).to.equal(code);
      }
    });
  }

  it('lives on when workers that compute are ended', async () => {
    const { ended, said } = await end('workers', '', 6);
    expect(ended, said).to.equal(0);
  });

  it('names the mapped file that was cut short, with exit code 74', async () => {
    const model = join(work, 'model');
    cpSync(join(packageRoot(), 'test/golden/llava-trace/model'), model, { recursive: true });
    const { ended, said } = await run('cut-short.js', model);
    expect(ended, said).to.equal(74);
    expect(said).to.match(/^kuea: file_changed: \/\S+\.safetensors was cut short while it was in use/);
  });
});
