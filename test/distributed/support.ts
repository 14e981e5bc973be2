import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { freePort } from '../../lib/distributed/launch.js';
import type { AlignEvent, AlignLine, AlignOptions } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';

const root = packageRoot();

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export const demo = {
  student: join(root, 'configs/demo/clip'),
  teacher: join(root, 'configs/demo/dinov2'),
  data: join(root, 'test/golden/align/pixels.safetensors'),
};

/** The variables that torchrun sets for rank `rank` of `worldSize` on one machine; the ranks share its cores. */
function torchrun(rank: number, worldSize: number, port: number): Record<string, string> {
  return {
    RANK: `${rank}`,
    LOCAL_RANK: `${rank}`,
    WORLD_SIZE: `${worldSize}`,
    LOCAL_WORLD_SIZE: `${worldSize}`,
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: `${port}`,
    OMP_NUM_THREADS: '1',
  };
}

/** Runs a script of this folder in `worldSize` processes, started as torchrun would, to their ends. */
export async function startRanks(worldSize: number, script: string, args: (rank: number) => string[]): Promise<Ended[]> {
  const port = await freePort();
  const ranks = Array.from({ length: worldSize }, (_, rank) => {
    const child = spawn(process.execPath, [join(root, 'dist/test/distributed', script), ...args(rank)], {
      env: { ...process.env, ...torchrun(rank, worldSize, port) },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    return new Promise<Ended>((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
  });
  return Promise.all(ranks);
}

/** A run in several ranks. */
export const runRanks = (worldSize: number, options: AlignOptions) => startRanks(worldSize, 'rank.js', () => [JSON.stringify(options)]);

export const eventsOf = ({ stdout }: Ended): AlignEvent[] =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as AlignEvent);

export const stepsOf = (ended: Ended): AlignLine[] => eventsOf(ended).filter((event) => event.type === 'step');
