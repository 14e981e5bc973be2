import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { KillRuns, type Moment, type ProgramName } from './kill-runs.js';
import { endAll } from './support.js';

const theEnd = { after: 60_000 };

/** scripts/fuzz/kills.mjs has many more, at random. */
const lives: [name: string, program: ProgramName, kills: number, moments: Moment[]][] = [
  [
    'while it takes the folder, makes the cache, and fits the kernel',
    'align',
    3,
    [{ naming: '/lock-\\w+$' }, { naming: 'cache/embeddings-\\w+\\.safetensors$' }, { says: /frozen embeddings/ }],
  ],
  ['while it saves a checkpoint, and points at it', 'align', 2, [{ naming: 'checkpoints/step-000004$' }, { naming: '/latest$' }]],
  ['while it exports, and while it replaces that', 'align', 2, [{ naming: '/hf$' }, theEnd, { naming: 'export/hf$' }]],
  ['while it exports an adapter', 'lora', 1, [{ naming: '/export$' }]],
];

describe('a killed run', function () {
  // Up to five runs a test.
  this.timeout(180_000);
  let work: string;
  let runs: KillRuns;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-kills-'));
    runs = new KillRuns(work);
    await runs.prepare();
    for (const program of ['align', 'lora'] as const) await runs.runWhole(program);
  });
  afterEach(endAll);
  after(() => rmSync(work, { recursive: true, force: true }));

  for (const [name, program, kills, moments] of lives) {
    it(`${name}: resumes to the same bits, and leaves nothing behind`, async () => {
      expect(await runs.runKilled(program, moments)).to.deep.equal({ kills, differing: [], missing: [], stray: [] });
    });
  }
});
