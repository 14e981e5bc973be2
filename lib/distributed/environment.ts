import { KueaError } from '../errors.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where this process stands among all that train together, and where they meet. */
export interface Placement {
  rank: number;
  worldSize: number;
  /** Which of this machine's ranks it is, and how many there are. */
  localRank: number;
  localWorldSize: number;
  masterAddr: string;
  masterPort: number;
}

/** torchrun's port, for machines that were not told another. */
export const defaultPort = 29500;

const torchrun = ['RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'] as const;
const set = (env: Environment, name: string) => env[name] !== undefined && env[name] !== '';

function whole(env: Environment, name: string): number {
  const value = Number(env[name]);
  if (!set(env, name) || !Number.isSafeInteger(value) || value < 0)
    throw new KueaError('bad_environment', `expected a whole number in ${name}, found ${JSON.stringify(env[name] ?? '')}`);
  return value;
}

function checked(placement: Placement, whose: string): Placement {
  const { rank, worldSize, localRank, localWorldSize, masterPort } = placement;
  const refuse = (what: string) => {
    throw new KueaError('bad_environment', `expected ${what} in ${whose} variables`);
  };
  if (rank >= worldSize) refuse(`a rank below the ${worldSize} that there are, found rank ${rank}`);
  if (localRank >= localWorldSize) refuse(`a local rank below the ${localWorldSize} of this machine, found local rank ${localRank}`);
  if (localWorldSize > worldSize) refuse(`at most the ${worldSize} ranks that there are on this machine, found ${localWorldSize}`);
  if (masterPort < 1 || masterPort > 65535) refuse(`a port from 1 to 65535, found ${masterPort}`);
  return placement;
}

/** The first host of a Slurm list: `gpu[03-07,12],login1` starts with gpu03. */
export function firstHost(list: string): string {
  const [, prefix = '', range, suffix = ''] = /^([^,[]+)(?:\[([^\]]+)\])?([^,]*)/.exec(list) ?? [];
  return prefix + (range?.split(/[,-]/)[0] ?? '') + suffix;
}

/** Tasks on each node from Slurm's short form: `2(x3),1` is 2, 2, 2, 1. */
export function tasksPerNode(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [, tasks = '', times = '1'] = /^(\d+)(?:\(x(\d+)\))?$/.exec(part) ?? [];
    return new Array<number>(Number(times)).fill(Number(tasks));
  });
}

/**
 * Where the ranks of a job meet that were told nothing: a port that its number determines, above those of services and below those that
 * systems hand out.
 */
const portOfJob = (job: number) => 15000 + (job % 15000);

/** A step of several tasks. Within an allocation, in its batch script or in a shell of one task, nothing is distributed yet. */
function slurm(env: Environment): Placement | null {
  if (!set(env, 'SLURM_STEP_NUM_TASKS') || !set(env, 'SLURM_PROCID') || whole(env, 'SLURM_STEP_NUM_TASKS') < 2) return null;
  return {
    rank: whole(env, 'SLURM_PROCID'),
    worldSize: whole(env, 'SLURM_STEP_NUM_TASKS'),
    localRank: whole(env, 'SLURM_LOCALID'),
    localWorldSize: tasksPerNode(env['SLURM_STEP_TASKS_PER_NODE'] ?? '')[whole(env, 'SLURM_NODEID')] ?? 0,
    masterAddr: env['MASTER_ADDR'] || firstHost(env['SLURM_STEP_NODELIST'] ?? ''),
    masterPort: set(env, 'MASTER_PORT') ? whole(env, 'MASTER_PORT') : portOfJob(whole(env, 'SLURM_JOB_ID')),
  };
}

/** What mpirun gives: Open MPI's names, or those of MPICH and Intel MPI. They say nothing of where to meet. */
function mpi(env: Environment): Placement | null {
  const names = [
    ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_SIZE'],
    ['PMI_RANK', 'PMI_SIZE', 'MPI_LOCALRANKID', 'MPI_LOCALNRANKS'],
  ].find(([, size]) => set(env, size!) && whole(env, size!) > 1);
  if (!names) return null;
  const [rank, worldSize, localRank, localWorldSize] = names.map((name) => whole(env, name)) as [number, number, number, number];
  if (!set(env, 'MASTER_ADDR') && localWorldSize < worldSize) {
    throw new KueaError(
      'bad_environment',
      `expected MASTER_ADDR, the machine of rank 0, since MPI's ${worldSize} ranks are on several machines: mpirun -x MASTER_ADDR=HOST`,
    );
  }
  return {
    rank,
    worldSize,
    localRank,
    localWorldSize,
    masterAddr: env['MASTER_ADDR'] || '127.0.0.1',
    masterPort: set(env, 'MASTER_PORT') ? whole(env, 'MASTER_PORT') : defaultPort,
  };
}

/**
 * This process's place as whoever started it says: torchrun's variables, all of them or none, else Slurm's or MPI's (for which MASTER_ADDR
 * and MASTER_PORT are optional). Null when it is alone. Throws KueaError `bad_environment`, naming what is missing or wrong.
 */
export function placementOf(env: Environment): Placement | null {
  const found = torchrun.filter((name) => set(env, name));
  if (found.length === torchrun.length) {
    const number = (name: (typeof torchrun)[number]) => whole(env, name);
    return checked(
      {
        rank: number('RANK'),
        worldSize: number('WORLD_SIZE'),
        localRank: number('LOCAL_RANK'),
        localWorldSize: number('LOCAL_WORLD_SIZE'),
        masterAddr: env['MASTER_ADDR']!,
        masterPort: number('MASTER_PORT'),
      },
      "torchrun's",
    );
  }
  const ranked = found.some((name) => !name.startsWith('MASTER_'));
  if (!ranked) {
    const step = slurm(env);
    if (step) return checked(step, "Slurm's");
    const world = mpi(env);
    if (world) return checked(world, "MPI's");
  }
  if (found.length > 0) {
    const missing = torchrun.filter((name) => !set(env, name));
    throw new KueaError(
      'bad_environment',
      `expected all of torchrun's variables or none, found ${found.join(', ')} without ${missing.join(', ')}: set them, unset the ` +
        `others, or start with --nproc`,
    );
  }
  return null;
}
