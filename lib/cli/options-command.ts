import { Command, Option } from 'commander';
import { z } from 'zod';

import { parseSetting, readPreset, readRecipe } from '../config/files.js';
import { camelCase, kebabCase, nearest } from '../config/keys.js';
import { overlay } from '../config/layers.js';
import type { Group } from '../config/options.js';
import { KueaError } from '../errors.js';

/** A command whose flags are a schema's keys. */
export interface OptionsCommand {
  name: string;
  description: string;
  examples: string;
  /** The schema's `shape`: each key has `meta({ group, help })`. */
  shape: Readonly<Record<string, z.ZodType>>;
  /** Names of the recipes that --preset takes. */
  presets: readonly string[];
  /** `options` are merged and not yet checked; `json` is --json. */
  run(options: Record<string, unknown>, json: boolean): Promise<void>;
}

/** The innermost schema of a key, and its default. */
function describe(schema: z.ZodType): { group: Group; help: string; type: z.ZodType; fallback: unknown } {
  const { group, help } = schema.meta() as { group: Group; help: string };
  let type = schema;
  let fallback: unknown;
  while (type instanceof z.ZodDefault || type instanceof z.ZodOptional) {
    if (type instanceof z.ZodDefault) fallback = type.def.defaultValue;
    type = type.unwrap() as z.ZodType;
  }
  return { group, help, type, fallback };
}

function number(text: string): number | string {
  const value = Number(text);
  // Left as text when it is none: the schema says what was expected, for every way a value can come in.
  return text.trim() === '' || Number.isNaN(value) ? text : value;
}

/** The flag of a key; a boolean that is on by default has --no-KEY alone. */
function flagOf(key: string, schema: z.ZodType): { option: Option; group: Group } {
  const { group, help, type, fallback } = describe(schema);
  const name = kebabCase(key);
  const shown = fallback === undefined || fallback === false ? help : `${help} (default: ${String(fallback)})`;
  if (type instanceof z.ZodBoolean)
    return { group, option: fallback === true ? new Option(`--no-${name}`, `do not ${help}`) : new Option(`--${name}`, shown) };
  if (type instanceof z.ZodArray) {
    const choices = (type.element as z.ZodEnum).options.join('|');
    return { group, option: new Option(`--${name} <${choices}...>`, shown) };
  }
  if (type instanceof z.ZodEnum) return { group, option: new Option(`--${name} <${type.options.join('|')}>`, shown) };
  if (type instanceof z.ZodString) return { group, option: new Option(`--${name} <ref>`, shown) };
  return { group, option: new Option(`--${name} <n>`, shown).argParser(number) };
}

/** Options in the order of precedence: --preset or --config < --set < flags. */
async function gather(flags: Record<string, unknown>, presets: readonly string[]): Promise<Record<string, unknown>> {
  const { preset, config, set, json: _, ...own } = flags as { preset?: string; config?: string; set?: string[]; json?: boolean };
  if (preset !== undefined && config !== undefined)
    throw new KueaError('bad_option', 'expected --preset or --config, found both: leave one out');
  const file = preset !== undefined ? await readPreset(preset, presets) : config !== undefined ? await readRecipe(config) : {};
  return overlay(overlay(file, Object.fromEntries((set ?? []).map(parseSetting))), own);
}

export function optionsCommand({ name, description, examples, shape, presets, run }: OptionsCommand): Command {
  const keys = Object.keys(shape);
  const command = new Command(name)
    .description(description)
    .addHelpText('after', examples)
    .configureHelp({ helpWidth: 110 })
    .allowExcessArguments(true);
  command.addOption(new Option('--preset <name>', `a published recipe: ${presets.join(', ')}`).helpGroup('Recipe:'));
  command.addOption(new Option('--config <file>', 'a YAML file of options (batch_size: 64)').helpGroup('Recipe:'));
  command.addOption(
    new Option('--set <key=value...>', 'any option by its key; stronger than the recipe, weaker than its flag').helpGroup('Recipe:'),
  );
  for (const key of keys) {
    const { option, group } = flagOf(key, shape[key]!);
    command.addOption(option.helpGroup(`${group}:`));
  }
  command.addOption(new Option('--json', 'print every event as a line of JSON').helpGroup('Run:'));
  command.showSuggestionAfterError(false);
  // Our own message: commander's would not know the keys' other spellings.
  command.allowUnknownOption(true);
  return command.action(async (flags: Record<string, unknown>, self: Command) => {
    const stray = self.args.find((word) => word.startsWith('-'));
    if (stray) {
      const known = [...keys, 'preset', 'config', 'set', 'json'];
      const key = camelCase(stray.replace(/^--?(no-)?/, '').replace(/=.*/, ''));
      throw new KueaError('unknown_option', `unknown option ${stray}: did you mean --${kebabCase(nearest(key, known))}?`);
    }
    if (self.args.length > 0) throw new KueaError('unknown_option', `expected options alone, found ${self.args[0]}`);
    // Only what was typed: a --no-KEY that was not must not outweigh a file.
    const typed = Object.fromEntries(Object.entries(flags).filter(([key]) => self.getOptionValueSource(key) === 'cli'));
    await run(await gather(typed, presets), flags['json'] === true);
  });
}
