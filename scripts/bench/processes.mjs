import { spawn } from 'node:child_process';

import { freePort } from '../../dist/lib/distributed/launch.js';

/**
 * Runs `count` processes of a script at once, each with one thread on its own core, and gives the JSON that each has printed. `args` may
 * name a port, free for all.
 */
export async function onCores(count, script, args) {
  const port = await freePort();
  const one = (core) => {
    const child = spawn('taskset', ['-c', `${core}`, process.execPath, script, ...args(core, port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: '1' },
    });
    let out = '';
    child.stdout.on('data', (text) => (out += text));
    return new Promise((resolve, reject) =>
      child.on('close', (code) => (code === 0 ? resolve(JSON.parse(out)) : reject(new Error('a process failed')))),
    );
  };
  return Promise.all(Array.from({ length: count }, (_, core) => one(core)));
}

/** The process group of ranks on this machine's CPU, for ProcessGroupSpec. */
export const onThisMachine = (rank, worldSize, port) => ({
  rank,
  worldSize,
  localRank: rank,
  masterAddr: '127.0.0.1',
  masterPort: port,
  backend: 'gloo',
  joinSeconds: 60,
  timeoutSeconds: 600,
  watchdogSeconds: 60,
});
