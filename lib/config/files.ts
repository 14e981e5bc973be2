import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

import { parse, stringify } from 'yaml';

import { KueaError, reason } from '../errors.js';
import { packageRoot } from '../package.js';
import { readRegular } from '../regular-file.js';
import { camelCase, nearest, snakeCase } from './keys.js';

/** Whether a file's value is a path that starts from the file's own folder. */
const isBesideFile = (value: unknown): value is string => typeof value === 'string' && /^\.{1,2}\//.test(value);

/**
 * Names of a program's recipes that ship with the package: configs/NAME.yaml, kuea-lora's being those that end in -lora; suite-NAME.yaml
 * are kuea-eval's suites. Of the demo's, which name files that are drawn when it is first run, those that can be used.
 */
export function presetNames(program: 'align' | 'lora', folder = join(packageRoot(), 'configs')): string[] {
  const usable = (file: string) => {
    const paths = Object.values(parse(readFileSync(join(folder, file), 'utf8')) as Record<string, unknown>).filter(isBesideFile);
    return paths.every((path) => existsSync(resolve(folder, path)));
  };
  return readdirSync(folder)
    .filter(
      (name) =>
        name.endsWith('.yaml') && !name.startsWith('suite-') && name.endsWith('-lora.yaml') === (program === 'lora') && usable(name),
    )
    .map((name) => basename(name, '.yaml'))
    .sort();
}

/** No warnings, which would quote the file on the terminal as it is. */
const quiet = { logLevel: 'error' } as const;
/** Of a config in bytes, at most. */
const largestConfig = 1 << 18;

/** Options of a YAML file, keys in camelCase. Throws KueaError `bad_config`. */
export async function readConfigFile(file: string): Promise<Record<string, unknown>> {
  const text = await readRegular(file, largestConfig).catch((cause: unknown) => {
    throw new KueaError('bad_config', `cannot read the config ${file}: ${reason(cause)}`, { cause });
  });
  let parsed: unknown;
  try {
    parsed = parse(text.toString('utf8'), quiet) ?? {};
    // What names itself by an anchor is no option, and could not be said in an error.
    JSON.stringify(parsed);
  } catch (cause) {
    throw new KueaError('bad_config', `expected YAML in ${file}: ${reason((cause as Error).message.split('\n')[0])}`, { cause });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new KueaError('bad_config', `expected "key: value" lines in ${file}, found something else`);
  return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [camelCase(key), value]));
}

/**
 * Options of a YAML file that somebody wrote or that ships with the package. A path that begins with ./ or ../ starts from the file's
 * folder; any other is as on the command line. Throws KueaError `bad_config`.
 */
export async function readRecipe(file: string): Promise<Record<string, unknown>> {
  return nestedRecipe(file, await readConfigFile(file));
}

/** The same of options that are nested in those of `file`: keys in camelCase, paths from the file's folder. */
export function nestedRecipe(file: string, options: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [camelCase(key), isBesideFile(value) ? resolve(dirname(file), value) : value]),
  );
}

/** Options of one of the presets in `known`. Throws KueaError `unknown_preset`, naming the nearest. */
export function readPreset(name: string, known: readonly string[]): Promise<Record<string, unknown>> {
  if (!known.includes(name))
    throw new KueaError('unknown_preset', `unknown preset ${name}: did you mean ${nearest(name, known)}? There are ${known.join(', ')}`);
  return readRecipe(join(packageRoot(), 'configs', `${name}.yaml`));
}

/** One `--set key=value`; the value is read as YAML, so numbers, booleans and lists keep their types. Throws KueaError `bad_option`. */
export function parseSetting(setting: string): [key: string, value: unknown] {
  const at = setting.indexOf('=');
  if (at < 1) throw new KueaError('bad_option', `expected --set key=value, found ${setting}`);
  try {
    return [camelCase(setting.slice(0, at).trim()), parse(setting.slice(at + 1), quiet)];
  } catch (cause) {
    throw new KueaError('bad_option', `expected a YAML value in --set ${setting}: ${reason((cause as Error).message.split('\n')[0])}`, {
      cause,
    });
  }
}

/** A configuration as config.yaml, keys in snake_case. */
export function toYaml(config: Record<string, unknown>): string {
  return stringify(Object.fromEntries(Object.entries(config).map(([key, value]) => [snakeCase(key), value])));
}
