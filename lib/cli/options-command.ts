import { Command, Help, Option } from 'commander';
import { z } from 'zod';

import { parseSetting, readPreset, readRecipe } from '../config/files.js';
import { camelCase, kebabCase, nearest } from '../config/keys.js';
import { overlay } from '../config/layers.js';
import { metaOf, renameOptions, type Shape, type Telling } from '../config/options.js';
import { KueaError } from '../errors.js';

/** What was asked for on a command line. */
export interface Asked {
  /** Merged, and not yet checked. */
  options: Record<string, unknown>;
  /** --json. */
  json: boolean;
  /** What is to be told before anything begins. */
  warnings: string[];
}

/** A command whose flags are a schema's keys. */
export interface OptionsCommand {
  name: string;
  description: string;
  /** Shown by --help and by --help-all. */
  examples: { everyday: string; all: string };
  /** The schema's `shape`, its keys made by `option`. */
  shape: Shape;
  /** The key whose list may be given by words alone, without its flag. */
  operands?: string;
  /** Names of the recipes that --preset takes. */
  presets: readonly string[];
  run(asked: Asked): Promise<void>;
}

/** A key as it is typed. */
export const flagName = (key: string) => `--${kebabCase(key)}`;

/** The innermost schema of a key, and its default. */
function describe(schema: z.ZodType): { type: z.ZodType; fallback: unknown } {
  let type = schema;
  let fallback: unknown;
  while (type instanceof z.ZodDefault || type instanceof z.ZodOptional) {
    if (type instanceof z.ZodDefault) fallback = type.def.defaultValue;
    type = type.unwrap() as z.ZodType;
  }
  return { type, fallback };
}

function number(text: string): number | string {
  const value = Number(text);
  // Left as text when it is none: the schema says what was expected, for every way a value can come in.
  return text.trim() === '' || Number.isNaN(value) ? text : value;
}

/** What is typed after a flag; choices that are short stand there themselves. */
function placeholder(type: z.ZodType): { value: string; choices: string } {
  const list = type instanceof z.ZodArray;
  const of = list ? (type.element as z.ZodType) : type;
  if (!(of instanceof z.ZodEnum)) return { value: `${of instanceof z.ZodString ? 'ref' : 'n'}${list ? '...' : ''}`, choices: '' };
  const choices = of.options.join('|');
  return choices.length <= 9 ? { value: choices, choices: '' } : { value: list ? 'names...' : 'name', choices: of.options.join(', ') };
}

/** How an option is shown: its full help, or its everyday one. */
type Wording = 'full' | 'everyday';

/** The flag of a key; a boolean that is on by default has --no-KEY alone. */
function flagOf(name: string, schema: z.ZodType, wording: Wording = 'full'): Option {
  const { help: full, everyday } = metaOf(schema);
  const help = wording === 'everyday' && typeof everyday === 'string' ? everyday : full;
  const { type, fallback } = describe(schema);
  if (type instanceof z.ZodBoolean) return fallback === true ? new Option(`--no-${name}`, `do not ${help}`) : new Option(`--${name}`, help);
  const { value, choices } = placeholder(type);
  const notes = [...(choices ? [choices] : []), ...(fallback === undefined ? [] : [`default: ${String(fallback)}`])].join('; ');
  const option = new Option(`--${name} <${value}>`, notes ? `${help} (${notes})` : help);
  if (value === 'n...') return option.argParser((text: string, before: unknown[] = []) => [...(before as unknown[]), number(text)]);
  return value === 'n' ? option.argParser(number) : option;
}

/** Options in the order of precedence: --preset or --config < --set < flags. */
async function gather(
  flags: Record<string, unknown>,
  { presets, shape }: OptionsCommand,
  telling: Telling,
): Promise<Record<string, unknown>> {
  const { preset, config, set, ...own } = flags as { preset?: string; config?: string; set?: string[]; json?: unknown };
  if (own.json === true) delete own.json;
  if (preset !== undefined && config !== undefined)
    throw new KueaError('bad_option', 'expected --preset or --config, found both: leave one out');
  const file = preset !== undefined ? await readPreset(preset, presets) : config !== undefined ? await readRecipe(config) : {};
  const [weak, middle, strong] = [file, Object.fromEntries((set ?? []).map(parseSetting)), own].map((layer) =>
    renameOptions(shape, layer, telling),
  ) as [Record<string, unknown>, Record<string, unknown>, Record<string, unknown>];
  return overlay(overlay(weak, middle), strong);
}

/** --help has the everyday options as one list, for two screens of 80 columns; --help-all has all, under their headings. */
function configureHelps(command: Command, everyday: ReadonlyMap<string, string>, { examples }: OptionsCommand): void {
  let all = false;
  const usual = new Help();
  command.configureHelp({
    helpWidth: 80,
    visibleOptions: (cmd) => usual.visibleOptions(cmd).filter((option) => all || everyday.has(option.name())),
    optionDescription: (option) => (all ? option.description : everyday.get(option.name())!),
    groupItems: (unsorted, visible, getGroup) =>
      usual.groupItems(unsorted, visible, (item) => (all || !(item instanceof Option) ? getGroup(item) : 'Options:')),
  });
  command.addHelpText('after', () => (all ? `${examples.all}\n${yamlNote}` : examples.everyday));
  command.helpOption('-h, --help', 'show the everyday options');
  command.addOption(new Option('--help-all', 'show every option').helpGroup('Run:'));
  command.on('option:help-all', () => {
    all = true;
    command.help();
  });
}

const yamlNote = 'In a YAML, a path that begins with ./ or ../ starts from its folder; others,\nas in flags, from the working folder.';

export function optionsCommand(spec: OptionsCommand): Command {
  const { name, description, shape, presets } = spec;
  const keys = Object.keys(shape);
  const command = new Command(name).description(description).allowExcessArguments(true);
  if (spec.operands !== undefined) command.usage(`[options] [${spec.operands}...]`);
  const everyday = new Map([
    ['help', 'show the everyday options'],
    ['help-all', 'show every option'],
    ['version', 'print the version'],
  ]);
  const add = (option: Option, shown = option.description) => {
    command.addOption(option);
    everyday.set(option.name(), shown);
  };
  if (presets.length > 0) add(new Option('--preset <name>', `a recipe: ${presets.join(', ')}`).helpGroup('Recipe:'));
  add(new Option('--config <file>', 'a YAML file of options, such as batch_size: 64').helpGroup('Recipe:'));
  command.addOption(
    new Option('--set <key=value...>', 'any option by its key; stronger than the recipe, weaker than its flag').helpGroup('Recipe:'),
  );
  for (const key of keys) {
    const schema = shape[key]!;
    const { group, everyday: shown, formerly = [] } = metaOf(schema);
    const option = flagOf(kebabCase(key), schema).helpGroup(`${group}:`);
    if (shown) add(option, flagOf(kebabCase(key), schema, 'everyday').description);
    else command.addOption(option);
    for (const old of formerly) command.addOption(flagOf(kebabCase(old), schema).hideHelp());
  }
  if (!keys.includes('json')) add(new Option('--json', 'print every event, and an error, as a line of JSON').helpGroup('Run:'));
  configureHelps(command, everyday, spec);
  command.showSuggestionAfterError(false);
  // Our own message: commander's would not know the keys' other spellings.
  command.allowUnknownOption(true);
  return command.action(async (flags: Record<string, unknown>, self: Command) => {
    const stray = self.args.find((word) => word.startsWith('-'));
    if (stray) {
      const known = [...keys, 'preset', 'config', 'set', 'json'];
      const key = camelCase(stray.replace(/^--?(no-)?/, '').replace(/=.*/, ''));
      throw new KueaError('unknown_option', `unknown option ${stray}: did you mean ${flagName(nearest(key, known))}?`);
    }
    if (self.args.length > 0 && spec.operands === undefined)
      throw new KueaError('unknown_option', `expected options alone, found ${self.args[0]}`);
    // Only what was typed: a --no-KEY that was not must not outweigh a file.
    const typed = Object.fromEntries(Object.entries(flags).filter(([key]) => self.getOptionValueSource(key) === 'cli'));
    if (spec.operands !== undefined && self.args.length > 0) typed[spec.operands] = self.args;
    const warnings: string[] = [];
    const options = await gather(typed, spec, { name: flagName, warn: (message) => warnings.push(message) });
    await spec.run({ options, json: flags['json'] === true, warnings });
  });
}
