import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';

import { parse, stringify } from 'yaml';

import { KueaError, reason } from '../errors.js';
import { packageRoot } from '../package.js';
import { readRegular } from '../regular-file.js';
import { camelCase, nearest, snakeCase } from './keys.js';

/** Names of a program's published recipes that ship with the package: configs/NAME.yaml, kuea-lora's being those that end in -lora. */
export function presetNames(program: 'align' | 'lora'): string[] {
  return readdirSync(join(packageRoot(), 'configs'))
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => basename(name, '.yaml'))
    .filter((name) => name.endsWith('-lora') === (program === 'lora'))
    .sort();
}

/** Of a config in bytes, at most. */
const largestConfig = 1 << 18;

/** Options of a YAML file, keys in camelCase. Throws KueaError `bad_config`. */
export async function readConfigFile(file: string): Promise<Record<string, unknown>> {
  const text = await readRegular(file, largestConfig).catch((cause: unknown) => {
    throw new KueaError('bad_config', `cannot read the config ${file}: ${reason(cause)}`, { cause });
  });
  let parsed: unknown;
  try {
    parsed = parse(text.toString('utf8')) ?? {};
    // What names itself by an anchor is no option, and could not be said in an error.
    JSON.stringify(parsed);
  } catch (cause) {
    throw new KueaError('bad_config', `expected YAML in ${file}: ${(cause as Error).message.split('\n')[0]}`, { cause });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new KueaError('bad_config', `expected "key: value" lines in ${file}, found something else`);
  return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [camelCase(key), value]));
}

/** Options of one of the presets in `known`. Throws KueaError `unknown_preset`, naming the nearest. */
export function readPreset(name: string, known: readonly string[]): Promise<Record<string, unknown>> {
  if (!known.includes(name))
    throw new KueaError('unknown_preset', `unknown preset ${name}: did you mean ${nearest(name, known)}? There are ${known.join(', ')}`);
  return readConfigFile(join(packageRoot(), 'configs', `${name}.yaml`));
}

/** One `--set key=value`; the value is read as YAML, so numbers, booleans and lists keep their types. Throws KueaError `bad_option`. */
export function parseSetting(setting: string): [key: string, value: unknown] {
  const at = setting.indexOf('=');
  if (at < 1) throw new KueaError('bad_option', `expected --set key=value, found ${setting}`);
  try {
    return [camelCase(setting.slice(0, at).trim()), parse(setting.slice(at + 1))];
  } catch (cause) {
    throw new KueaError('bad_option', `expected a YAML value in --set ${setting}: ${(cause as Error).message.split('\n')[0]}`, { cause });
  }
}

/** A configuration as config.yaml, keys in snake_case. */
export function toYaml(config: Record<string, unknown>): string {
  return stringify(Object.fromEntries(Object.entries(config).map(([key, value]) => [snakeCase(key), value])));
}
