import { hostname } from 'node:os';

import type { NativeProcessGroup } from '../native/addon.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import type { Placement } from './environment.js';
import { atStep, currentStep, die, launched, tellLost } from './launched.js';
import type { Ranks } from './ranks.js';

/**
 * How long another rank may take over its part before an exchange is given up (torch's own default): saving a checkpoint or a slow disk is
 * no failure.
 */
const timeoutSeconds = 1800;

/** How long the device thread may still wait for others when this rank has failed. */
const graceMs = 8000;

export interface JoinOptions {
  device: string;
  /** Seconds to wait for all ranks to arrive. */
  joinTimeout: number;
  /** Seconds without a sign of life after which a rank counts as lost. */
  watchdog: number;
}

/**
 * Joins the other ranks and runs `work` with them. A rank that falls silent meanwhile ends this process: what waits for it would wait for
 * ever. Rejects with KueaError `port_in_use`, `unreachable_master` or `rank_failed`, and with what `work` rejects with.
 */
export async function withRanks<T>(
  placement: Placement,
  { device, joinTimeout, watchdog }: JoinOptions,
  work: (ranks: Ranks) => Promise<T>,
): Promise<T> {
  const { localWorldSize: _, ...place } = placement;
  const addon = loadAddon();
  const backend = resolveDevice(device, addon.info(), placement.localRank) === 'cpu' ? 'gloo' : 'nccl';
  const group = await addon.openProcessGroup({ ...place, backend, joinSeconds: joinTimeout, timeoutSeconds, watchdogSeconds: watchdog });
  const watch = watchOthers(group, placement.rank, watchdog);
  try {
    const hosts = await group.gather('host', hostname());
    const node = [...new Set(hosts)].indexOf(hosts[placement.rank]!);
    const result = await work({ rank: place.rank, worldSize: place.worldSize, localRank: place.localRank, node, group, atStep });
    // Rank 0 exports when the others have nothing left to do: whoever left before it was done would be missed.
    await group.gather('end', '');
    clearInterval(watch);
    await group.close();
    return result;
  } catch (error) {
    clearInterval(watch);
    const timer = setTimeout(die, graceMs);
    void group.close().finally(() => clearTimeout(timer));
    throw error;
  }
}

/** Ends this process when another rank is lost. */
function watchOthers(group: NativeProcessGroup, rank: number, watchdog: number): NodeJS.Timeout {
  let before: number | null = null;
  return setInterval(() => {
    const lost = group.lostRank();
    // Twice in a row: a process that was stopped itself, and now goes on, must hear the others first.
    if (lost !== null && lost === before) void end(lost, rank, watchdog);
    before = lost;
  }, 1000);
}

async function end(lost: number, rank: number, watchdog: number): Promise<void> {
  // The launcher ends all ranks, and says which was the first.
  if (launched) return tellLost(lost);
  console.error(
    `kuea: rank ${lost} has gone, or gave no sign of life for ${watchdog} s, while rank ${rank} was at step ${currentStep()}; the last ` +
      `checkpoint is kept`,
  );
  die();
}
