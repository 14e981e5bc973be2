import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { root } from './support.js';

const starters = 4;
const rounds = 30;

describe('four starters on one --out', () => {
  let work: string;
  let children: ChildProcess[] = [];
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-starters-'));
    children = Array.from({ length: starters }, () => fork(join(root, 'dist/test/process/starter.js')));
    for (const child of children) expect(await once(child, 'message')).to.have.property('0', 'ready');
  });
  after(() => {
    for (const child of children) child.disconnect();
    rmSync(work, { recursive: true, force: true });
  });

  /** Sends all the same, a run's folder to open or nothing to close it, and gives their answers. */
  async function ask(message: string): Promise<string[]> {
    const answers = children.map(async (child) => ((await once(child, 'message')) as [string])[0]);
    for (const child of children) child.send(message);
    return Promise.all(answers);
  }

  const dead = JSON.stringify({ pid: spawnSync(process.execPath, ['-e', '']).pid, host: hostname(), started: '', began: 1 });
  const states: Record<string, (out: string) => void> = {
    'of a new run': () => {},
    "with a dead one's lock": (out) => {
      mkdirSync(out);
      writeFileSync(join(out, 'lock-0123456789abcdef'), dead);
    },
    "with a dead one's lock of version 0.1": (out) => {
      mkdirSync(out);
      writeFileSync(join(out, 'lock'), dead);
    },
  };
  for (const [name, prepare] of Object.entries(states)) {
    it(`${name}: exactly one wins`, async () => {
      for (let round = 0; round < rounds; round++) {
        const out = join(work, `${name}-${round}`);
        prepare(out);
        const answers = await ask(out);
        expect(answers.sort(), `round ${round}`).to.deep.equal(['open', 'out_in_use', 'out_in_use', 'out_in_use']);
        await ask('');
        expect(readdirSync(out), `round ${round}`).to.deep.equal(['config.yaml']);
      }
    });
  }

  it('when the winner is killed, another gets it', async () => {
    const out = join(work, 'killed');
    const answers = await ask(out);
    const winner = children.splice(answers.indexOf('open'), 1)[0]!;
    winner.kill('SIGKILL');
    await once(winner, 'exit');
    expect((await ask(out)).sort()).to.deep.equal(['open', 'out_in_use', 'out_in_use']);
    await ask('');
    expect(readdirSync(out)).to.deep.equal(['config.yaml']);
  });
});
