import { type DistributedConfig, distributedKeys, distributedSchema, resolveDistributed } from '../config/distributed.js';
import { type Placement, placementOf } from '../distributed/environment.js';
import { withRanks } from '../distributed/join.js';
import { launch } from '../distributed/launch.js';
import { launched } from '../distributed/launched.js';
import { oneRank, type Ranks } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { tellFailed } from './failure.js';
import { interruptible } from './interruptible.js';
import { flagName } from './options-command.js';
import { output } from './output.js';

/** What one process of a program does: all of its run, or one rank's part. Resolves to whether the signal stopped it. */
export type Part = (ranks: Ranks, signal: AbortSignal, machines: number) => Promise<boolean>;

/** A program that may run on several ranks. */
export interface RankedProgram {
  name: string;
  distributed: DistributedConfig;
  device: string;
  dryRun: boolean;
  json: boolean;
}

/** Takes the options of the launch out of a program's own. */
export function splitDistributed(options: Record<string, unknown>): { own: Record<string, unknown>; distributed: DistributedConfig } {
  const part = (ofLaunch: boolean) =>
    Object.fromEntries(Object.entries(options).filter(([key]) => (distributedKeys as string[]).includes(key) === ofLaunch));
  return { own: part(false), distributed: resolveDistributed(part(true), { name: flagName }) };
}

/** The flags of the launch, for a program's --help. */
export const distributedShape = distributedSchema.shape;

/** Who this process is to be: a rank that somebody has placed, or the launcher of ranks, or neither. */
function roleOf({ nproc, nnodes }: DistributedConfig): { placement: Placement | null; launches: boolean } {
  if (launched || nproc === undefined) {
    const placement = placementOf(process.env);
    return { placement: placement && placement.worldSize > 1 ? placement : null, launches: false };
  }
  if (process.env['LOCAL_RANK'] !== undefined) {
    throw new KueaError(
      'bad_option',
      `expected --nproc or ranks that another launcher has started, found both (LOCAL_RANK is ${process.env['LOCAL_RANK']}): leave ` +
        `--nproc out`,
    );
  }
  return { placement: null, launches: nproc * nnodes > 1 };
}

/** Processes that will train together. */
export function worldSizeOf(distributed: DistributedConfig): number {
  const { nproc = 1, nnodes } = distributed;
  return roleOf(distributed).placement?.worldSize ?? nproc * nnodes;
}

/**
 * Runs `part` alone, or as one of the ranks that somebody has started, or starts the ranks that are to run it; sets the exit code. A dry
 * run starts none.
 */
export async function runRanked({ name, distributed, device, dryRun, json }: RankedProgram, part: Part): Promise<void> {
  const { placement, launches } = roleOf(distributed);
  const { nproc = 1, nnodes, masterAddr = '127.0.0.1' } = distributed;
  const play = (ranks: Ranks, machines = 1) => interruptible({ quiet: json, ranks }, (signal) => part(ranks, signal, machines));
  if (dryRun) {
    const planned = placement ?? { rank: 0, worldSize: nproc * nnodes, localWorldSize: nproc };
    process.exitCode = await play(
      { ...oneRank, rank: planned.rank, worldSize: planned.worldSize },
      planned.worldSize / planned.localWorldSize,
    );
  } else if (launches) {
    process.exitCode = await launch({
      ...distributed,
      nproc,
      masterAddr,
      note: (text) => {
        if (!json) output.note(text);
      },
      failed: (failure) => tellFailed(name, failure, json),
    });
  } else if (placement) {
    process.exitCode = await withRanks(placement, { device, ...distributed }, (ranks) => play(ranks));
  } else {
    process.exitCode = await play(oneRank);
  }
}
