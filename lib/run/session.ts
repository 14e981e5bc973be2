import { agree } from '../distributed/agree.js';
import { fromRank0, gather, type Ranks } from '../distributed/ranks.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import { packageVersion } from '../package.js';
import { type Checkpoint, latestCheckpoint } from './checkpoints.js';
import { claimInputs } from './inputs.js';
import { type RunConfig, RunFolder } from './run-folder.js';

/** How a program was called: by whom it can be stopped, who hears of it, and with which other processes it runs. */
export interface Caller<Event> {
  emit(event: Event | { type: 'phase'; name: string }): void;
  signal: AbortSignal | undefined;
  ranks: Ranks;
}

/** A run that may begin: the ranks agree, its device is there, and its folder and inputs are its own. */
export interface Session<Config, Event> extends Caller<Event> {
  config: Config;
  folder: RunFolder;
  /** Of this process: cpu or cuda:N. */
  device: string;
  /** Where a resumed run goes on; null for a new one. */
  checkpoint: Checkpoint | null;
}

/** Models and data of a run: understood, and not yet read. */
export interface Inputs {
  /** What is behind the paths, by name: alike on all ranks, and whenever the run goes on. */
  fingerprints(): Promise<Record<string, string>>;
  close(): Promise<void>;
}

/** What a program brings to the one way in which a run begins and ends. */
export interface Program<Config extends RunConfig, Opened extends Inputs, Event, Result> {
  /** Options that a resumed run may change, since they do not change what is computed. */
  free: readonly (keyof Config & string)[];
  /** The options of a run's config.yaml, whichever version wrote it. */
  parse(saved: Record<string, unknown>): Record<string, unknown>;
  /** Options that ranks may have otherwise: paths, whose contents are compared, and how a machine is used. */
  local: readonly (keyof Config & string)[];
  /** Rejects with the reason of `signal` when that stops it. */
  open(session: Omit<Session<Config, Event>, 'checkpoint'>): Promise<Opened>;
  /** The run itself. Resolves also when it was stopped. */
  work(session: Session<Config, Event>, inputs: Opened): Promise<Result>;
  /** What a run gives that was stopped before its work began. */
  stopped: Result & { interrupted: boolean };
}

/**
 * Begins a run and brings it to its end: agree with the other ranks, check the device, claim the folder, open and claim the inputs, find
 * the checkpoint to go on from, work. A run that fails or is stopped before its first checkpoint leaves its folder as if it had not been
 * tried. Rejects with KueaError `ranks_differ`, `no_device`, what RunFolder.open and claimInputs throw, and what the program throws.
 */
export async function runSession<
  Config extends RunConfig & { device: string; threads?: number | undefined },
  Opened extends Inputs,
  Event,
  Result,
>(
  program: Program<Config, Opened, Event, Result & { interrupted: boolean }>,
  config: Config,
  caller: Caller<Event>,
): Promise<Result & { interrupted: boolean }> {
  const { ranks, signal } = caller;
  const addon = loadAddon();
  if (ranks.group) await agree(ranks, comparable(program, config));
  const device = resolveDevice(config.device, addon.info(), ranks.localRank);
  const folder = await RunFolder.open(config, program.free, ranks, program.parse);
  let result: (Result & { interrupted: boolean }) | null = null;
  try {
    if (config.threads) await addon.setThreads(config.threads);
    const opening = { ...caller, config, folder, device };
    const inputs = await orStopped(signal, program.open(opening));
    try {
      if (inputs && !(await anyStopped(caller))) {
        await claim(folder, inputs, ranks);
        const checkpoint = await fromRank0(ranks, 'checkpoint', async () => (config.resume ? latestCheckpoint(folder) : null));
        result = await orStopped(signal, program.work({ ...opening, checkpoint }, inputs));
      }
    } finally {
      await inputs?.close();
    }
    return (result ??= program.stopped);
  } finally {
    if (!result || result.interrupted) await folder.abandon();
    await folder.close();
  }
}

/** What all ranks must have alike of versions and options. */
function comparable<Config extends RunConfig>({ local }: { local: readonly string[] }, config: Config): Record<string, unknown> {
  const options = Object.entries(config).filter(([key]) => !local.includes(key));
  return { kuea: packageVersion(), libtorch: loadAddon().info().libtorch, ...Object.fromEntries(options) };
}

async function claim(folder: RunFolder, inputs: Inputs, ranks: Ranks): Promise<void> {
  const fingerprints = await inputs.fingerprints();
  if (ranks.group) await agree(ranks, fingerprints);
  await fromRank0(ranks, 'inputs', async () => {
    await claimInputs(folder, fingerprints);
    return true;
  });
}

/** Null in place of the signal's own rejection: to be stopped is an outcome, not a failure. */
export async function orStopped<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (signal?.aborted && error === signal.reason) return null;
    throw error;
  }
}

/** Whether the signal of any rank has stopped it: all of them learn the same, and none waits for one that has gone. */
export async function anyStopped({ ranks, signal }: Pick<Caller<never>, 'ranks' | 'signal'>): Promise<boolean> {
  return (await gather(ranks, 'stop', signal?.aborted === true)).includes(true);
}
