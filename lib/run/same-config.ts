import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

/** `--device cuda:1` computes what cuda:0 does; a rank has a device of its own anyway. */
const kindOfDevice = (value: unknown) => (typeof value === 'string' ? value.replace(/^cuda:\d+$/, 'cuda') : value);

/** Whether two values of an option mean the same: devices by their kind, paths (any texts) however they are spelled. */
function meanTheSame(key: string, a: unknown, b: unknown): boolean {
  if (key === 'device') return kindOfDevice(a) === kindOfDevice(b);
  if (typeof a === 'string' && typeof b === 'string') return resolve(a) === resolve(b);
  return isDeepStrictEqual(a, b);
}

/** The options, but for the `free` ones, in which a run differs from how it was started, each with both values. */
export function differingOptions(before: Record<string, unknown>, now: Record<string, unknown>, free: readonly string[]): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(now)])]
    .filter((key) => !free.includes(key) && !meanTheSame(key, before[key], now[key]))
    .map((key) => `${key} (${JSON.stringify(before[key])} then, ${JSON.stringify(now[key])} now)`);
}
