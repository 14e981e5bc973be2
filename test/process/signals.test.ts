import { spawn } from 'node:child_process';
import { join } from 'node:path';

import { expect } from 'chai';

import { root } from './support.js';

/** A program that never ends by itself, and does nothing when it is asked to stop. */
const stubborn = `
import { interruptible } from ${JSON.stringify(join(root, 'dist/lib/cli/interruptible.js'))};
import { oneRank } from ${JSON.stringify(join(root, 'dist/lib/distributed/ranks.js'))};
setInterval(() => {}, 1000);
const running = interruptible({ quiet: false, ranks: oneRank }, () => new Promise(() => {}));
console.log('listening');
await running;
`;

describe('a program that is asked to stop', () => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    it(`says at the first ${signal} what it does, and ends with ${code} at the second`, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '--eval', stubborn], { stdio: ['ignore', 'pipe', 'pipe'] });
      const ended = new Promise((resolve) => child.on('close', (...how) => resolve(how)));
      let stderr = '';
      child.stdout.once('data', () => child.kill(signal));
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString();
        child.kill(signal);
      });
      expect(await ended).to.deep.equal([code, null]);
      expect(stderr).to.equal(`${signal}: finishing this step and saving; once more to stop at once\n`);
    });
  }
});
