import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { KillRuns, type Moment, type ProgramName } from './kill-runs.js';
import { endAll } from './support.js';

/** scripts/fuzz/kills.mjs has many more, at random. */
const kills: [name: string, program: ProgramName, moments: Moment[]][] = [
  [
    'while it takes the folder and while it fits the kernel',
    'align',
    [
      { after: 0, appears: { folder: '.', name: /lock/ } },
      { after: 5, appears: { folder: 'cache', name: /^embeddings/ } },
    ],
  ],
  ['while it saves a checkpoint', 'align', [{ after: 0, appears: { folder: 'checkpoints', name: /^\.step-000004/ } }]],
  ['while it exports', 'align', [{ after: 0, appears: { folder: 'export', name: /^\./ } }]],
  ['while it exports an adapter', 'lora', [{ after: 0, appears: { folder: '.', name: /^\.export/ } }]],
];

describe('a killed run', () => {
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

  for (const [name, program, moments] of kills) {
    it(`${name}, resumes to the same bits, and leaves nothing behind`, async () => {
      expect(await runs.runKilled(program, moments)).to.deep.equal({ killed: true, differing: [], missing: [], stray: [] });
    });
  }
});
