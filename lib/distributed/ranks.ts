import { KueaError, type KueaErrorCode } from '../errors.js';
import type { NativeProcessGroup } from '../native/addon.js';

/** This process among all that train together. */
export interface Ranks {
  rank: number;
  worldSize: number;
  /** Which of its machine's ranks it is. */
  localRank: number;
  /** Which of the machines it runs on. */
  node: number;
  /** Null for a process that trains alone. */
  group: NativeProcessGroup | null;
  /** Called when an update begins, counted from 1. */
  atStep(step: number): void;
}

/** A process that trains alone. */
export const oneRank: Ranks = { rank: 0, worldSize: 1, localRank: 0, node: 0, group: null, atStep: () => {} };

/** Waits for all ranks; resolves to what each gave, in their order. `value` must survive JSON. */
export async function gather<T>({ group }: Ranks, name: string, value: T): Promise<T[]> {
  if (!group) return [value];
  return (await group.gather(name, JSON.stringify(value))).map((text) => JSON.parse(text) as T);
}

type Outcome<T> = { value: T } | { error: { code: KueaErrorCode; message: string } };

/** What `make` gives on rank 0, where alone it is called, on every rank; its KueaError is thrown on every rank. */
export async function fromRank0<T>(ranks: Ranks, name: string, make: () => Promise<T>): Promise<T> {
  if (!ranks.group) return make();
  let outcome: Outcome<T> | null = null;
  if (ranks.rank === 0) {
    outcome = await make().then(
      (value) => ({ value }),
      (error: unknown) => {
        if (!(error instanceof KueaError)) throw error;
        return { error: { code: error.code, message: error.message } };
      },
    );
  }
  const first = (await gather(ranks, name, outcome))[0]!;
  if ('error' in first) throw new KueaError(first.error.code, first.error.message);
  return first.value;
}
